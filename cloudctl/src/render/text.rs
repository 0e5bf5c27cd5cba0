//! Times, amounts and commands as people read them.

use shared::resources::{GIB, Millis, Resources};
use shared::task::{Command, TaskState, Verdict};
use shared::time::WallTime;

use super::Style;

/// How long ago, in one unit: `42s ago`.
pub(super) fn ago(now: WallTime, then: WallTime) -> String {
    let seconds = (now.0 - then.0) / 1000;
    if seconds < 1 { "now".to_owned() } else { format!("{} ago", seconds_in_words(seconds)) }
}

/// How long it took.
pub(crate) fn span(from: WallTime, to: WallTime) -> String {
    let millis = (to.0 - from.0).max(0);
    if millis < 10_000 { format!("{}.{}s", millis / 1000, millis % 1000 / 100) } else { two_units(millis / 1000) }
}

/// `59s`, `1m 30s`, `2h 5m`, `3d 4h`.
fn two_units(seconds: i64) -> String {
    let (large, small) = match seconds {
        ..60 => return format!("{seconds}s"),
        60..3600 => ((seconds / 60, 'm'), (seconds % 60, 's')),
        3600..86_400 => ((seconds / 3600, 'h'), (seconds % 3600 / 60, 'm')),
        _ => ((seconds / 86_400, 'd'), (seconds % 86_400 / 3600, 'h')),
    };
    let small = if small.0 == 0 { String::new() } else { format!(" {}{}", small.0, small.1) };
    format!("{}{}{small}", large.0, large.1)
}

fn seconds_in_words(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How a task ended, or where it stands: `failed: exit code 3`. What the state says already is not said twice.
pub(crate) fn outcome(state: TaskState, verdict: Option<&Verdict>) -> String {
    match verdict {
        None | Some(Verdict::Success | Verdict::Cancelled) => state.to_string(),
        Some(verdict) => format!("{state}: {verdict}"),
    }
}

/// `CPU=4.0, Memory=8.0GB, GPU=0.0`; raw `CPU=4000m, Memory=8589934592, GPU=0m`.
pub(super) fn resources(resources: &Resources, style: &Style) -> String {
    let Resources { cpu_millis, memory_bytes, gpu_millis, .. } = *resources;
    if style.raw {
        return format!("CPU={cpu_millis}m, Memory={memory_bytes}, GPU={gpu_millis}m");
    }
    format!("CPU={}, Memory={}, GPU={}", decimal(cpu_millis), gigabytes(memory_bytes), decimal(gpu_millis))
}

/// `8.0GB`, counted in GiB as everywhere.
pub(super) fn gigabytes(bytes: u64) -> String {
    let value = bytes as f64 / GIB as f64;
    if bytes == 0 || value >= 1.0 { format!("{value:.1}GB") } else { format!("{value:.2}GB") }
}

/// Thousandths with at least one decimal: `4.0`.
pub(crate) fn decimal(millis: u64) -> String {
    let text = Millis(millis).to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

/// The command as it could be typed.
pub(super) fn command(command: &Command) -> String {
    match command {
        Command::ImageDefault => "(what the image says)".to_owned(),
        Command::Shell(line) => format!("/bin/sh -c {}", quote(line)),
        Command::Argv(argv) => argv.iter().map(|argument| quote(argument)).collect::<Vec<_>>().join(" "),
    }
}

fn quote(argument: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&b);
    if !argument.is_empty() && argument.bytes().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_one_unit() {
        let at = |seconds: i64| ago(WallTime(seconds * 1000), WallTime(0));
        assert_eq!(
            [at(-5), at(0), at(59), at(60), at(7200), at(200_000)].join(" "),
            "now now 59s ago 1m ago 2h ago 2d ago"
        );
        assert_eq!(span(WallTime(0), WallTime(1234)), "1.2s");
        let lasted = |seconds: i64| span(WallTime(0), WallTime(seconds * 1000));
        assert_eq!(
            [lasted(59), lasted(60), lasted(90), lasted(7500), lasted(90_000)].join(", "),
            "59s, 1m, 1m 30s, 2h 5m, 1d 1h"
        );
    }

    #[test]
    fn an_outcome_is_said_once() {
        assert_eq!(outcome(TaskState::Cancelled, Some(&Verdict::Cancelled)), "cancelled");
        assert_eq!(
            outcome(TaskState::Failed, Some(&Verdict::Signal { signal: 11, by_hand: false })),
            "failed: exit code 139 (killed by signal 11, or ended so by itself)"
        );
        assert_eq!(outcome(TaskState::Running, None), "running");
    }

    #[test]
    fn resources_are_written_as_in_the_specification() {
        let full = Resources { cpu_millis: 4000, memory_bytes: 8 * GIB, storage_bytes: 0, gpu_millis: 0 };
        let resources = |resources: &Resources| super::resources(resources, &Style::default());
        assert_eq!(resources(&full), "CPU=4.0, Memory=8.0GB, GPU=0.0");
        let small = Resources { cpu_millis: 50, memory_bytes: GIB / 16, storage_bytes: 0, gpu_millis: 1500 };
        assert_eq!(resources(&small), "CPU=0.05, Memory=0.06GB, GPU=1.5");
    }

    #[test]
    fn commands_can_be_typed_again() {
        let argv = Command::Argv(["sh", "-c", "echo 'hi'", ""].map(str::to_owned).to_vec());
        assert_eq!(command(&argv), r"sh -c 'echo '\''hi'\''' ''");
        assert_eq!(command(&Command::Shell("a b".into())), "/bin/sh -c 'a b'");
    }
}
