//! What this process uses of the machine, as Linux tells it.

use std::fs;

/// All zero where it is not told.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// Memory in use, in bytes.
    pub resident_bytes: u64,
    /// Files and connections that are open.
    pub open_files: u64,
    /// Time that was computed.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: u64,
}

/// Of this process, now.
#[must_use]
pub fn figures() -> Figures {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    Figures {
        resident_bytes: field("VmRSS") * 1024,
        open_files: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        cpu_seconds: cpu_seconds().unwrap_or(0.0),
        threads: field("Threads"),
    }
}

/// Fields 14 and 15 of `stat`, in hundredths of a second on every Linux; counted behind the name, which may have blanks.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let begin = std::time::Instant::now();
        while begin.elapsed().as_millis() < 50 {
            std::hint::spin_loop();
        }
        let Figures { resident_bytes, open_files, cpu_seconds, threads } = figures();
        assert!(resident_bytes > 1 << 20 && open_files >= 3 && cpu_seconds > 0.0 && threads >= 1);
    }
}
