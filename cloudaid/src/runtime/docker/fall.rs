//! Whether a container fell with its engine.
//!
//! An engine that is killed or restarted without live-restore takes its containers with it: they end with 137, 143 or, where
//! the host went down too, 255, and nothing in their records tells that from a program that ended so. What tells is when: it
//! began before the engine that is there now, and ended about when that one began; or it ended while this process could not
//! reach the engine; or it began before the host booted. Whether something in it was killed for want of memory does not
//! matter then: that may have been hours ago.
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
/// What is stopped together with this worker has ended so long after it: systemd waits 90 s for a service, and engines are
/// often told to be more patient.
const STOPPING: Duration = Duration::from_secs(180);
/// A host takes so long from the end of its services until its kernel counts again: servers test their memory first.
const BOOTING: Duration = Duration::from_secs(600);

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

/// What is known of the times at which somebody else may have ended a container.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// When the present process of the engine began, which can be seen only on this host.
    pub(super) engine: Option<WallTime>,
    /// When this host booted.
    pub(super) host: Option<WallTime>,
    /// When the engine did not answer, since this process waits for the container.
    pub(super) outage: Option<Outage>,
    /// When the process before this one, of the same worker, was last there, if it was there when the container began.
    pub(super) left: Option<WallTime>,
}

impl Times {
    /// Whether the engine is another one than that of `time`; where it cannot be seen it may be.
    fn has_changed_since(&self, time: WallTime) -> bool {
        self.engine.is_none_or(|engine| time.0 <= engine.0 + millis(GRANULARITY) + millis(ASKED))
    }
}

/// Whether `exit` is that of a container that was there when the host went down. Its engine was asked to stop then, or the
/// container was, by whoever stops what is left; what ends by itself in those minutes is taken for one of them. How long
/// the host was down is not known, but when this worker was last there is.
pub(super) fn went_down(exit: &Exit, times: &Times) -> bool {
    let (Some(began), Some(ended), Some(host)) = (exit.started_at, exit.finished_at, times.host) else { return false };
    if began >= host {
        return false;
    }
    if CODES.contains(&exit.code) {
        // Where the clock was set, or stood still, what began since seems to have begun before.
        let was_found = |engine| is_between(ended, engine, BEFORE, engine, AFTER);
        return ended <= host || exit.code == UNSEEN && times.engine.is_none_or(was_found);
    }
    let has_stopped = |left: WallTime| left < host && is_between(ended, left, BEFORE, left, STOPPING);
    let was_about_to = is_between(ended, host, BOOTING, host, Duration::ZERO) || times.left.is_some_and(has_stopped);
    times.engine.is_some() && ended <= host && was_about_to
}

/// Whether `exit`, with one of the [`CODES`], is that of a container that fell with the engine.
pub(super) fn fell(exit: &Exit, times: &Times) -> bool {
    let (Some(began), Some(ended)) = (exit.started_at, exit.finished_at) else { return false };
    let with_engine = |engine| began < engine && is_between(ended, engine, BEFORE, engine, AFTER);
    let in_outage = |outage: Outage| {
        times.has_changed_since(outage.from) && is_between(ended, outage.from, BEFORE, outage.to, AFTER)
    };
    times.engine.is_some_and(with_engine) || times.outage.is_some_and(in_outage)
}

/// Whether `exit` is that of a container that an engine without live-restore has asked to end, whatever it made of that: one that
/// is stopped asks all its containers, and one that comes back after a crash asks those that are still there. Nobody who
/// waits for the container hears of its end then before the engine is back. What ends by itself in those moments is taken for
/// one of them: it runs again.
pub(super) fn was_asked(exit: &Exit, times: &Times) -> bool {
    let (Some(began), Some(ended), Some(engine)) = (exit.started_at, exit.finished_at, times.engine) else {
        return false;
    };
    let in_outage =
        |outage: Outage| times.has_changed_since(outage.from) && is_between(ended, outage.from, ASKED, engine, AFTER);
    // Nobody has waited when the engine went: it was about when this worker did, or shortly before another engine came.
    let meanwhile = |left: WallTime| {
        let about = is_between(ended, left, BEFORE, left, STOPPING) || is_between(ended, engine, BEFORE, engine, AFTER);
        times.has_changed_since(left) && about
    };
    began < engine && (times.outage.is_some_and(in_outage) || times.left.is_some_and(meanwhile))
}

/// Whether it came to its end under the engine whose present process began at `engine`, and that was seen: one with
/// live-restore has not ended it. What ended before, the one before it may have ended, without live-restore, or the host,
/// when it went down.
pub(super) fn was_seen(exit: &Exit, engine: Option<WallTime>) -> bool {
    let (Some(engine), Some(ended)) = (engine, exit.finished_at) else { return false };
    exit.code != UNSEEN && ended.0 >= engine.0 + millis(GRANULARITY)
}

/// Whether `time` is at most so long `before` one time and so long `after` the other.
fn is_between(time: WallTime, from: WallTime, before: Duration, to: WallTime, after: Duration) -> bool {
    (from.0 - millis(before)..=to.0 + millis(after)).contains(&time.0)
}

/// Whether a container that began and ended then, if it has ended, ran when its engine became another one: what that had read of
/// its log and not yet kept is gone. Not known is no.
pub(super) fn has_outlived(began: Option<WallTime>, ended: Option<WallTime>, engine: Option<WallTime>) -> bool {
    let (Some(began), Some(engine)) = (began, engine) else { return false };
    let ended_before = ended.is_some_and(|ended| ended.0 < engine.0 - millis(BEFORE));
    began.0 + millis(GRANULARITY) < engine.0 && !ended_before
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
            killed: None,
            by_engine: false,
            by_hand: None,
            runs_again: false,
            memory_peak: None,
            started_at,
            finished_at,
            usage: None,
        }
    }

    fn at(second: i64) -> Option<WallTime> {
        Some(WallTime(second * SECOND))
    }

    fn outage(from: i64, to: i64) -> Option<Outage> {
        Some(Outage { from: WallTime(from * SECOND), to: WallTime(to * SECOND) })
    }

    #[test]
    fn what_ended_when_the_engine_began_fell_with_it() {
        let times = Times { engine: at(1000), ..Times::default() };
        for (exit, expected) in [
            (exit(137, 900, 1001), true),
            (exit(143, 900, 990), true),
            (exit(255, 900, 1100), true),
            (exit(137, 900, 970), false),
            (exit(137, 900, 1200), false),
            (exit(137, 1001, 1002), false),
            // Something in it was killed for want of memory, once.
            (Exit { oom: true, ..exit(137, 900, 1001) }, true),
            (Exit { finished_at: None, ..exit(137, 900, 1001) }, false),
        ] {
            assert_eq!(fell(&exit, &times), expected, "{exit:?}");
            assert!(!fell(&exit, &Times::default()), "{exit:?}");
        }
    }

    #[test]
    fn so_did_what_ended_while_it_did_not_answer() {
        let times = |engine| Times { engine, outage: outage(1000, 1300), ..Times::default() };
        assert!(fell(&exit(137, 900, 1200), &times(None)));
        assert!(fell(&exit(137, 900, 1200), &times(at(1299))));
        assert!(!fell(&exit(137, 900, 1500), &times(None)));
        // It is the engine of before, which hung.
        assert!(!fell(&exit(137, 900, 1200), &times(at(10))));
    }

    #[test]
    fn what_was_there_when_the_host_went_down_went_with_it() {
        let times = Times { host: at(50_000), engine: at(50_020), left: at(10_000), ..Times::default() };
        for (exit, expected) in [
            (exit(143, 900, 10_003), true),
            (exit(137, 900, 10_013), true),
            (exit(255, 900, 50_021), true),
            (exit(255, 900, 51_000), false),
            // Asked to end when the worker was, and right before the host came back.
            (exit(0, 900, 10_003), true),
            (exit(1, 900, 49_500), true),
            // By itself, while the worker was there or had gone alone.
            (exit(0, 900, 9_000), false),
            (exit(0, 900, 30_000), false),
            // Since the boot.
            (exit(143, 50_030, 50_040), false),
            (exit(255, 50_030, 50_040), false),
            (Exit { finished_at: None, ..exit(143, 900, 10_003) }, false),
        ] {
            assert_eq!(went_down(&exit, &times), expected, "{exit:?}");
            assert!(!went_down(&exit, &Times { host: None, ..times }), "{exit:?}");
        }
        let of_elsewhere = Times { engine: None, ..times };
        assert!(went_down(&exit(143, 900, 10_003), &of_elsewhere));
        assert!(!went_down(&exit(0, 900, 10_003), &of_elsewhere), "its engine may be on another host");
    }

    #[test]
    fn what_ran_before_its_engine_did_has_had_another_one() {
        assert!(has_outlived(at(900), None, at(1000)) && has_outlived(at(900), at(990), at(1000)));
        assert!(!has_outlived(at(900), at(950), at(1000)), "by itself, and its whole log was kept");
        assert!(!has_outlived(at(1000), None, at(1000)) && !has_outlived(at(1001), at(1002), at(1000)));
        assert!(!has_outlived(None, None, at(1000)) && !has_outlived(at(1), None, None));
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
        for (exit, outage, expected) in [
            (exit(0, 900, 999), outage(1000, 1005), true),
            (exit(1, 900, 1012), outage(1000, 1005), true),
            (exit(0, 900, 990), outage(1000, 1005), false),
            (exit(0, 1010, 1012), outage(1000, 1005), false),
            (exit(0, 900, 1200), outage(1000, 1005), false),
            // The engine is the one of before: it did not answer for a while.
            (exit(0, 900, 1100), outage(1099, 1100), false),
            (exit(0, 900, 1001), None, false),
            (Exit { oom: true, ..exit(1, 900, 1001) }, outage(1000, 1005), true),
        ] {
            let times = Times { engine: at(1010), outage, ..Times::default() };
            assert_eq!(was_asked(&exit, &times), expected, "{exit:?}");
            assert!(!was_asked(&exit, &Times { engine: None, ..times }), "{exit:?}");
        }
    }

    #[test]
    fn so_has_what_it_asked_while_this_worker_was_away() {
        for (exit, left, expected) in [
            // Both were stopped, and the engine is back.
            (exit(0, 900, 1002), at(1000), true),
            (exit(1, 900, 4_995), at(1000), true),
            (exit(1, 900, 5_010), at(1000), true),
            // By itself, in between.
            (exit(0, 900, 3_000), at(1000), false),
            // The engine was there before the worker left.
            (exit(0, 900, 5_010), at(5_005), false),
            // Nobody was there before.
            (exit(0, 900, 1002), None, false),
        ] {
            let times = Times { engine: at(5_000), left, ..Times::default() };
            assert_eq!(was_asked(&exit, &times), expected, "{exit:?} {left:?}");
        }
    }
}
