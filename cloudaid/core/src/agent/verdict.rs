//! How a run ended, from what the engine says and what was done to it.

use shared::span::Span;
use shared::task::{StoredPart, Verdict, signal_of};

use super::input::Ended;
use super::journal::{StopOrder, StopReason};
use super::run::Stop;

/// The signals that workers stop runs with, where an image does not want another one first.
const TERM: i32 = 15;
const KILL: i32 = 9;

/// What is said when a container that was started is not there any more.
pub(super) fn container_gone() -> Verdict {
    Verdict::WorkerLost { message: "the container is gone".to_owned() }
}

/// Of a run that we have stopped. What was given up is told to nobody.
pub(super) fn stopped(stop: Option<&Stop>) -> Verdict {
    match stop {
        Some(Stop::Order(StopOrder { reason, .. })) => match reason {
            StopReason::Person => Verdict::Cancelled,
            StopReason::TimeLimit(limit) => {
                Verdict::Timeout { limit_seconds: Span(*limit).whole_seconds(), exit_code: None }
            }
            StopReason::Lease => Verdict::WorkerLost {
                message: "it may run once at most, and its worker stopped it because it had lost touch with the master"
                    .to_owned(),
            },
            StopReason::Storage { limit_bytes, used_bytes, largest } => disk(*limit_bytes, *used_bytes, largest),
            StopReason::HandedBack => {
                Verdict::WorkerLost { message: "its worker was stopped, and handed it back".to_owned() }
            }
            StopReason::StartedAgain { first } => first.clone(),
        },
        Some(Stop::Discard) | None => Verdict::Cancelled,
    }
}

/// Of a run that ended before its container was started.
pub(super) fn unstarted(reason: &StopReason) -> Verdict {
    match reason {
        StopReason::Person | StopReason::TimeLimit(_) => Verdict::Cancelled,
        StopReason::Lease => {
            Verdict::Rejected { message: "its worker had lost touch with the master before it began".to_owned() }
        }
        StopReason::Storage { limit_bytes, used_bytes, largest } => disk(*limit_bytes, *used_bytes, largest),
        StopReason::HandedBack => Verdict::Rejected { message: "its worker is being stopped".to_owned() },
        StopReason::StartedAgain { first } => first.clone(),
    }
}

fn disk(limit_bytes: u64, used_bytes: Option<u64>, largest: &[StoredPart]) -> Verdict {
    Verdict::Disk { limit_bytes, used_bytes, largest: largest.to_vec() }
}

/// Once we have asked it to end, its end is our doing: nothing tells a handler of TERM that exits 0 from a program that
/// was about to, and who ordered it has said what the task is to be.
pub(super) fn of(ended: &Ended, memory_limit: u64, stop: Option<&Stop>) -> Verdict {
    if stop.is_some() {
        return match stopped(stop) {
            Verdict::Timeout { limit_seconds, .. } => Verdict::Timeout { limit_seconds, exit_code: Some(ended.code) },
            verdict => verdict,
        };
    }
    if ended.by_engine {
        return Verdict::WorkerLost {
            message: "the container engine was stopped or has crashed, and ended it".to_owned(),
        };
    }
    match ended.code {
        0 => Verdict::Success,
        _ if ended.oom => {
            // Some pages of what starts containers are counted with it.
            let peak_bytes = ended.memory_peak.filter(|_| memory_limit > 0).map(|peak| peak.min(memory_limit));
            Verdict::Oom {
                limit_bytes: memory_limit,
                peak_bytes,
                exit_code: Some(ended.code),
                killed_process: ended.killed.as_ref().map(|killed| killed.name.clone()),
                killed_process_bytes: ended.killed.as_ref().and_then(|killed| killed.bytes),
            }
        }
        exit_code => match signal_of(exit_code) {
            Some(signal) => Verdict::Signal { signal, by_hand: ended.by_hand == Some(signal) },
            None => Verdict::ExitCode { exit_code },
        },
    }
}

/// What is told of one that no journal spoke of when it was taken up, and whether an earlier life may have stopped it: an
/// engine remembers the signals that it was asked to send, and not whether its worker or somebody else did that.
pub(super) fn of_adopted(verdict: Verdict) -> (Verdict, bool) {
    match verdict {
        // The signal that its image wants first is not known any more.
        Verdict::Signal { signal, by_hand } => {
            (Verdict::Signal { signal, by_hand: false }, by_hand || matches!(signal, TERM | KILL))
        }
        verdict => (verdict, false),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::link::KilledProcess;

    use super::super::testkit::exit;
    use super::*;

    fn ended(code: i32, oom: bool) -> Ended {
        Ended { oom, ..exit(code) }
    }

    fn verdict(code: i32, oom: bool) -> Verdict {
        of(&ended(code, oom), 7, None)
    }

    #[test]
    fn the_evidence_decides() {
        assert_eq!(verdict(0, false), Verdict::Success);
        assert_eq!(verdict(0, true), Verdict::Success);
        let oom = |limit_bytes, peak_bytes, code| Verdict::Oom {
            limit_bytes,
            peak_bytes,
            exit_code: Some(code),
            killed_process: None,
            killed_process_bytes: None,
        };
        assert_eq!(verdict(137, true), oom(7, None, 137));
        let measured = |peak, limit| of(&Ended { memory_peak: Some(peak), ..ended(1, true) }, limit, None);
        assert_eq!(measured(6, 7), oom(7, Some(6), 1));
        assert_eq!(measured(8, 7), oom(7, Some(7), 1));
        assert_eq!(measured(8, 0), oom(0, None, 1), "the limit is not known");
        assert_eq!(verdict(137, false), Verdict::Signal { signal: 9, by_hand: false });
        let by_hand = |code, signal| of(&Ended { by_hand: Some(signal), ..ended(code, false) }, 7, None);
        assert_eq!(by_hand(137, 9), Verdict::Signal { signal: 9, by_hand: true });
        assert_eq!(by_hand(134, 15), Verdict::Signal { signal: 6, by_hand: false }, "it was another one");
        assert_eq!(by_hand(0, 15), Verdict::Success);
        assert_eq!(by_hand(5, 15), Verdict::ExitCode { exit_code: 5 });
        assert_eq!(verdict(139, false), Verdict::Signal { signal: 11, by_hand: false });
        assert_eq!(verdict(3, false), Verdict::ExitCode { exit_code: 3 });
        assert_eq!(verdict(128, false), Verdict::ExitCode { exit_code: 128 });
        assert_eq!(verdict(192, false), Verdict::Signal { signal: 64, by_hand: false });
        assert_eq!(verdict(193, false), Verdict::ExitCode { exit_code: 193 });
        assert_eq!(verdict(255, false), Verdict::ExitCode { exit_code: 255 });
    }

    #[test]
    fn who_was_killed_is_named_where_it_failed_for_that() {
        let killed = |bytes| Some(KilledProcess { name: "tail".to_owned(), bytes });
        let with = |code, bytes| of(&Ended { killed: killed(bytes), ..ended(code, true) }, 7, None);
        for (code, bytes) in [(137, Some(6)), (3, None)] {
            let expected = Verdict::Oom {
                limit_bytes: 7,
                peak_bytes: None,
                exit_code: Some(code),
                killed_process: Some("tail".to_owned()),
                killed_process_bytes: bytes,
            };
            assert_eq!(with(code, bytes), expected);
        }
        assert_eq!(with(0, None), Verdict::Success, "it did without");
    }

    #[test]
    fn what_we_stopped_ends_as_it_was_ordered() {
        let stop = |reason| Some(Stop::Order(StopOrder { grace: Duration::ZERO, reason }));
        let of = |code, reason| of(&ended(code, false), 0, stop(reason).as_ref());
        assert_eq!(of(143, StopReason::Person), Verdict::Cancelled);
        let limit = StopReason::TimeLimit(Duration::from_millis(1500));
        let stopped_with = |code| of(code, limit.clone());
        assert_eq!(stopped_with(0), Verdict::Timeout { limit_seconds: 2, exit_code: Some(0) });
        assert_eq!(stopped_with(137), Verdict::Timeout { limit_seconds: 2, exit_code: Some(137) });
        assert!(of(137, StopReason::Lease).is_infrastructure());
    }

    #[test]
    fn what_falls_with_the_engine_is_nobodys_fault() {
        let fallen = Ended { by_engine: true, ..ended(137, false) };
        assert!(of(&fallen, 0, None).is_infrastructure());
        let order = StopOrder { grace: Duration::ZERO, reason: StopReason::Person };
        assert_eq!(of(&fallen, 0, Some(&Stop::Order(order))), Verdict::Cancelled);
    }
}
