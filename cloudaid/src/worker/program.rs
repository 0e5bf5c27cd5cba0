//! Programs of the machine that are run for what only they can do.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Runs one to its end. What has not ended at that time is killed, with all that it has started; none: it has as long as it
/// takes.
///
/// # Errors
/// It cannot be run, fails, or takes too long.
pub(super) fn run(command: &mut Command, until: Option<Instant>) -> io::Result<()> {
    // Some are where plain users do not look.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let name = command.get_program().to_string_lossy().into_owned();
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("{name} does not end"));
    if until.is_some_and(|until| until <= Instant::now()) {
        return Err(late());
    }
    command.env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // A group of its own, so that all of it can be killed.
    let child = command.process_group(0).spawn();
    let mut child = child.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    let (said, is_late) = ended(&mut child, until)?;
    if child.wait()?.success() {
        return Ok(());
    }
    if is_late {
        return Err(late());
    }
    let said = String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(io::Error::other(format!("{name}: {said}")))
}

/// Waits until it has ended; what it has said by then, and whether it was killed for taking too long. Until it is waited for
/// once more its number is no other one's, so that nobody else is killed.
fn ended(child: &mut Child, until: Option<Instant>) -> io::Result<(Vec<u8>, bool)> {
    let pid = Pid::from_child(child);
    let (running, over) = mpsc::channel::<()>();
    let guard = until.map(|until| {
        thread::spawn(move || {
            // Nothing is ever sent: what ends is the other side.
            let left = until.saturating_duration_since(Instant::now());
            let is_late = over.recv_timeout(left) == Err(RecvTimeoutError::Timeout);
            is_late && kill_process_group(pid, Signal::KILL).is_ok()
        })
    });
    let mut said = Vec::new();
    let read = child.stderr.take().map_or(Ok(0), |mut stderr| stderr.read_to_end(&mut said));
    let waited = retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
    drop(running);
    let is_late = guard.is_some_and(|guard| guard.join().unwrap_or(false));
    read?;
    waited?;
    Ok((said, is_late))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shell(line: &str, until: Option<Instant>) -> io::Result<()> {
        run(Command::new("sh").args(["-c", line]), until)
    }

    #[test]
    fn who_takes_too_long_is_ended_with_all_that_it_has_started() {
        let begin = Instant::now();
        let error =
            shell("sleep 60 & sleep 60", Some(begin + Duration::from_millis(100))).expect_err("it takes longer");
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::TimedOut, "sh does not end"));
        // Whoever is left of them holds what it writes to.
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        let error = shell("exit 0", Some(begin)).expect_err("there is no time left");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn who_ends_in_time_is_told_of_as_it_is() {
        for until in [None, Some(Instant::now() + Duration::from_secs(600))] {
            assert!(shell("exit 0", until).is_ok());
            let error = shell("echo no >&2; echo room >&2; exit 3", until).expect_err("it fails");
            assert_eq!(error.to_string(), "sh: no room");
        }
        let error = run(&mut Command::new("cloudai-no-such-program"), None).expect_err("there is none");
        assert!(error.to_string().starts_with("cloudai-no-such-program: "), "{error}");
    }
}
