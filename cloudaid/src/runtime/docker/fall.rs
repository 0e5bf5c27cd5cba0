//! Whether a container fell with its engine.
//!
//! An engine that is killed or restarted without live-restore takes its containers with it: they end with 137, 143 or, where
//! the host went down too, 255, and nothing in their records tells that from a program that ended so. What tells is when: it
//! began before the engine that is there now, and ended about when that one began; or it ended while this process could not
//! reach the engine.
//!
//! With live-restore an engine that goes away or comes back ends nothing, and what has ended meanwhile keeps its own exit code
//! and time. Only of a container that has nobody to tell its end, after a crash of the host, the engine that comes says 255,
//! and that it ended just then.

use std::time::Duration;

use shared::time::WallTime;

use crate::clock;
use crate::runtime::Exit;

/// What the engine writes where it did not see the end.
const UNSEEN: i32 = 255;
/// KILL, TERM, and that.
pub(super) const CODES: [i32; 3] = [137, 143, UNSEEN];
/// An engine that is stopped waits for so long for its containers: 15 s, and some for the kernel.
const BEFORE: Duration = Duration::from_secs(20);
/// When an engine began is known no better than that.
const GRANULARITY: Duration = Duration::from_millis(100);
/// How long before the first answer that failed it may have asked.
const ASKED: Duration = Duration::from_secs(2);
/// An engine with many containers takes so long to see after them when it starts.
const AFTER: Duration = Duration::from_secs(120);

/// A time in which the engine did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outage {
    from: WallTime,
    to: WallTime,
}

impl Outage {
    /// It does not answer now either.
    pub(super) fn extend(outage: &mut Option<Self>) {
        let now = clock::wall();
        *outage = Some(Self { from: outage.map_or(now, |outage| outage.from), to: now });
    }
}

/// Whether `exit` is that of a container that fell with the engine, whose present process began at `engine`.
pub(super) fn fell(exit: &Exit, engine: Option<WallTime>, outage: Option<Outage>) -> bool {
    let (Some(began), Some(ended)) = (exit.started_at, exit.finished_at) else { return false };
    if exit.oom || !CODES.contains(&exit.code) {
        return false;
    }
    let about = |from: WallTime, to: WallTime| from.0 - millis(BEFORE) <= ended.0 && ended.0 <= to.0 + millis(AFTER);
    engine.is_some_and(|engine| began < engine && about(engine, engine))
        || outage.is_some_and(|outage| about(outage.from, outage.to))
}

/// Whether `exit` is that of a container that an engine without live-restore has asked to end, whatever it made of that: one that
/// is stopped asks all its containers, and one that comes back after a crash asks those that are still there. Nobody who
/// waits for the container hears of its end then before the engine is back. What ends by itself in those moments is taken for
/// one of them: it runs again.
pub(super) fn was_asked(exit: &Exit, engine: Option<WallTime>, outage: Option<Outage>) -> bool {
    let (Some(began), Some(ended)) = (exit.started_at, exit.finished_at) else { return false };
    let (Some(engine), Some(outage)) = (engine, outage) else { return false };
    let slack = millis(ASKED);
    let is_another = began < engine && outage.from.0 <= engine.0 + millis(GRANULARITY) + slack;
    !exit.oom && is_another && (outage.from.0 - slack..=engine.0 + millis(AFTER)).contains(&ended.0)
}

/// Whether it came to its end under the engine whose present process began at `engine`, and that was seen: one with
/// live-restore has not ended it. What ended before, the one before it may have ended, without live-restore, or the host,
/// when it went down.
pub(super) fn was_seen(exit: &Exit, engine: Option<WallTime>) -> bool {
    let (Some(engine), Some(ended)) = (engine, exit.finished_at) else { return false };
    exit.code != UNSEEN && ended.0 >= engine.0 + millis(GRANULARITY)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1000;

    fn exit(code: i32, began: i64, ended: i64) -> Exit {
        let (started_at, finished_at) = (Some(WallTime(began * SECOND)), Some(WallTime(ended * SECOND)));
        Exit {
            code,
            oom: false,
            by_engine: false,
            by_hand: false,
            memory_peak: None,
            started_at,
            finished_at,
            usage: None,
        }
    }

    #[test]
    fn what_ended_when_the_engine_began_fell_with_it() {
        let engine = Some(WallTime(1000 * SECOND));
        for (exit, expected) in [
            (exit(137, 900, 1001), true),
            (exit(143, 900, 990), true),
            (exit(255, 900, 1100), true),
            (exit(137, 900, 970), false),
            (exit(137, 900, 1200), false),
            (exit(137, 1001, 1002), false),
            (exit(3, 900, 1001), false),
            (exit(0, 900, 1001), false),
            (Exit { oom: true, ..exit(137, 900, 1001) }, false),
            (Exit { finished_at: None, ..exit(137, 900, 1001) }, false),
        ] {
            assert_eq!(fell(&exit, engine, None), expected, "{exit:?}");
            assert!(!fell(&exit, None, None), "{exit:?}");
        }
    }

    #[test]
    fn so_did_what_ended_while_it_did_not_answer() {
        let outage = Some(Outage { from: WallTime(1000 * SECOND), to: WallTime(1300 * SECOND) });
        assert!(fell(&exit(137, 900, 1200), None, outage));
        assert!(!fell(&exit(137, 900, 1500), None, outage));
    }

    #[test]
    fn an_end_is_seen_by_the_engine_that_was_there() {
        let engine = Some(WallTime(1000 * SECOND));
        for (exit, expected) in [
            (exit(137, 900, 1001), true),
            (exit(143, 900, 1002), true),
            (exit(143, 900, 999), false),
            (exit(143, 900, 1000), false),
            (Exit { finished_at: Some(WallTime(1000 * SECOND + 99)), ..exit(143, 900, 1000) }, false),
            (exit(255, 900, 1001), false),
            (Exit { finished_at: None, ..exit(143, 900, 1001) }, false),
        ] {
            assert_eq!(was_seen(&exit, engine), expected, "{exit:?}");
            assert!(!was_seen(&exit, None), "nobody knows when it began: {exit:?}");
        }
    }

    #[test]
    fn what_an_engine_asks_to_end_has_not_ended_by_itself() {
        let outage = |from: i64, to: i64| Some(Outage { from: WallTime(from * SECOND), to: WallTime(to * SECOND) });
        let engine = Some(WallTime(1010 * SECOND));
        for (exit, outage, expected) in [
            (exit(0, 900, 999), outage(1000, 1005), true),
            (exit(1, 900, 1012), outage(1000, 1005), true),
            (exit(0, 900, 990), outage(1000, 1005), false),
            (exit(0, 1010, 1012), outage(1000, 1005), false),
            (exit(0, 900, 1200), outage(1000, 1005), false),
            // The engine is the one of before: it did not answer for a while.
            (exit(0, 900, 1100), outage(1099, 1100), false),
            (exit(0, 900, 1001), None, false),
            (Exit { oom: true, ..exit(1, 900, 1001) }, outage(1000, 1005), false),
        ] {
            assert_eq!(was_asked(&exit, engine, outage), expected, "{exit:?}");
            assert!(!was_asked(&exit, None, outage), "{exit:?}");
        }
    }
}
