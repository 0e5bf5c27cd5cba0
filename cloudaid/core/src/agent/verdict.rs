//! How a run ended, from what the engine says and what was done to it.

use shared::task::Verdict;

use super::input::Ended;
use super::run::Stop;

/// The highest number of a signal on Linux.
const LAST_SIGNAL: i32 = 64;

/// What is said when a container that was started is not there any more.
pub(super) fn container_gone() -> Verdict {
    Verdict::WorkerLost { message: "the container is gone".to_owned() }
}

/// Once we have asked it to end, its end is our doing: nothing tells a handler of TERM that exits 0 from a program that
/// was about to, and the person who cancelled it has said what the task is to be.
pub(super) fn of(ended: Ended, memory_limit: u64, stop: Option<Stop>) -> Verdict {
    match stop {
        Some(Stop::Cancel { .. } | Stop::Discard) => return Verdict::Cancelled,
        None => {}
    }
    if ended.by_engine {
        return Verdict::WorkerLost {
            message: "the container engine was stopped or has crashed, and ended it".to_owned(),
        };
    }
    match ended.code {
        0 => Verdict::Success,
        _ if ended.oom => Verdict::Oom { limit_bytes: memory_limit },
        code if (129..=128 + LAST_SIGNAL).contains(&code) => Verdict::Signal { signal: code - 128 },
        exit_code => Verdict::ExitCode { exit_code },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ended(code: i32, oom: bool) -> Ended {
        Ended { code, oom, by_engine: false, started_at: None, finished_at: None }
    }

    fn verdict(code: i32, oom: bool) -> Verdict {
        of(ended(code, oom), 7, None)
    }

    #[test]
    fn the_evidence_decides() {
        assert_eq!(verdict(0, false), Verdict::Success);
        assert_eq!(verdict(0, true), Verdict::Success);
        assert_eq!(verdict(137, true), Verdict::Oom { limit_bytes: 7 });
        assert_eq!(verdict(1, true), Verdict::Oom { limit_bytes: 7 });
        assert_eq!(verdict(137, false), Verdict::Signal { signal: 9 });
        assert_eq!(verdict(139, false), Verdict::Signal { signal: 11 });
        assert_eq!(verdict(3, false), Verdict::ExitCode { exit_code: 3 });
        assert_eq!(verdict(128, false), Verdict::ExitCode { exit_code: 128 });
        assert_eq!(verdict(192, false), Verdict::Signal { signal: 64 });
        assert_eq!(verdict(193, false), Verdict::ExitCode { exit_code: 193 });
        assert_eq!(verdict(255, false), Verdict::ExitCode { exit_code: 255 });
    }

    #[test]
    fn what_we_stopped_is_cancelled() {
        assert_eq!(of(ended(143, false), 0, Some(Stop::Cancel { grace: Duration::ZERO })), Verdict::Cancelled);
    }

    #[test]
    fn what_falls_with_the_engine_is_nobodys_fault() {
        let fallen = Ended { by_engine: true, ..ended(137, false) };
        assert!(of(fallen, 0, None).is_infrastructure());
        assert_eq!(of(fallen, 0, Some(Stop::Cancel { grace: Duration::ZERO })), Verdict::Cancelled);
    }
}
