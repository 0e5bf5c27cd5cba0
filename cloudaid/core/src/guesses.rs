//! Slows down whoever guesses passwords, and stops them in the end (NIST SP 800-63B, section 5.2.2).
//!
//! Names without an account are counted like those with one, so that nothing is told about who there is. A place that
//! somebody has logged in from is counted apart from the rest of the world: strangers cannot lock anybody out there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::id::UserName;
use shared::time::WallTime;

/// Failures that cost nothing: people mistype.
pub const FREE_FAILURES: u32 = 5;
/// The delay doubles from one second up to this.
pub const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);
/// After this many wrong passwords in a row no other is looked at, until an admin sets one.
pub const HARD_STOP: u32 = 100;
/// Counters kept. Of more those go first that may try again, and of them the ones that have waited least.
pub const COUNTERS_LIMIT: usize = 10_000;

/// What is counted together: tries for a name from one known place, or from everywhere else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GuessKey {
    /// The name that was tried; it may belong to nobody.
    pub name: UserName,
    /// The network, if there is a login of that name from there.
    pub place: Option<IpAddr>,
}

/// Wrong passwords in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuessCount {
    /// How many.
    pub failures: u32,
    /// No other is looked at before.
    pub blocked_until: WallTime,
}

/// All that is counted. What changes is returned, to be kept.
#[derive(Debug, Default)]
pub struct Guesses {
    counts: BTreeMap<GuessKey, GuessCount>,
    /// Tries that are being looked at, of names that have used up what is free.
    under_way: BTreeSet<GuessKey>,
}

/// A counter that has changed: what it is now, or that it is no more.
pub type GuessChange = (GuessKey, Option<GuessCount>);

impl Guesses {
    /// As it was kept.
    #[must_use]
    pub fn new(kept: impl IntoIterator<Item = (GuessKey, GuessCount)>) -> Self {
        Self { counts: kept.into_iter().collect(), under_way: BTreeSet::new() }
    }

    /// Whether a password may be looked at now. If so, [`Guesses::succeeded`] or [`Guesses::failed`] must follow.
    ///
    /// Once what is free is used up there is one at a time, so that many at once are no way around the delay.
    pub fn begin(&mut self, key: &GuessKey, now: WallTime) -> bool {
        let Some(count) = self.counts.get(key) else { return true };
        if count.failures >= HARD_STOP || now < count.blocked_until {
            return false;
        }
        if count.failures < FREE_FAILURES {
            return true;
        }
        self.under_way.insert(key.clone())
    }

    /// It was wrong.
    pub fn failed(&mut self, key: &GuessKey, now: WallTime) -> Vec<GuessChange> {
        self.under_way.remove(key);
        let mut changes = Vec::new();
        if self.counts.len() >= COUNTERS_LIMIT && !self.counts.contains_key(key) {
            changes.extend(self.make_room(now));
        }
        let failures = self.counts.get(key).map_or(0, |count| count.failures).saturating_add(1);
        let count = GuessCount { failures, blocked_until: now + delay(failures) };
        self.counts.insert(key.clone(), count);
        changes.push((key.clone(), Some(count)));
        changes
    }

    /// It was right.
    pub fn succeeded(&mut self, key: &GuessKey) -> Option<GuessChange> {
        self.under_way.remove(key);
        self.counts.remove(key).map(|_| (key.clone(), None))
    }

    /// The try ended without a result.
    pub fn abandoned(&mut self, key: &GuessKey) {
        self.under_way.remove(key);
    }

    /// All counters of a name start anew: it has another password.
    pub fn forget(&mut self, name: &UserName) -> Vec<GuessChange> {
        let keys: Vec<_> = self.counts.keys().filter(|key| key.name == *name).cloned().collect();
        keys.iter().filter_map(|key| self.succeeded(key)).collect()
    }

    fn make_room(&mut self, now: WallTime) -> Option<GuessChange> {
        let least = |(_, count): &(&GuessKey, &GuessCount)| {
            let holds = count.failures >= HARD_STOP || now < count.blocked_until;
            (holds, count.failures, count.blocked_until)
        };
        let key = self.counts.iter().min_by_key(least).map(|(key, _)| key.clone())?;
        self.succeeded(&key)
    }
}

fn delay(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1 << beyond.min(30)).min(LONGEST_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> GuessKey {
        GuessKey { name: text.parse().expect("a name"), place: None }
    }

    fn fail(guesses: &mut Guesses, key: &GuessKey, times: u32, now: WallTime) {
        for _ in 0..times {
            guesses.failed(key, now);
        }
    }

    #[test]
    fn the_fifth_failure_delays_and_each_one_more_doubles() {
        let (mut guesses, ann, mut now) = (Guesses::default(), key("ann"), WallTime(1000));
        fail(&mut guesses, &ann, FREE_FAILURES - 1, now);
        assert!(guesses.begin(&ann, now));
        for seconds in [1, 2, 4, 8] {
            guesses.failed(&ann, now);
            assert!(!guesses.begin(&ann, WallTime(now.0 + seconds * 1000 - 1)), "{seconds}");
            now = WallTime(now.0 + seconds * 1000);
            assert!(guesses.begin(&ann, now), "{seconds}");
        }
        fail(&mut guesses, &ann, 20, now);
        assert!(!guesses.begin(&ann, WallTime(now.0 + 899_999)));
        assert!(guesses.begin(&ann, WallTime(now.0 + 900_000)));
        assert!(guesses.begin(&key("bob"), now));
        assert_eq!(guesses.succeeded(&ann), Some((ann.clone(), None)));
        assert!(guesses.begin(&ann, now));
    }

    #[test]
    fn after_a_hundred_in_a_row_time_does_not_help_but_a_new_password_does() {
        let (mut guesses, ann) = (Guesses::default(), key("ann"));
        fail(&mut guesses, &ann, HARD_STOP - 1, WallTime(0));
        assert!(guesses.begin(&ann, WallTime(1 << 40)));
        guesses.failed(&ann, WallTime(0));
        assert!(!guesses.begin(&ann, WallTime(1 << 40)));
        assert_eq!(guesses.forget(&ann.name), [(ann.clone(), None)]);
        assert!(guesses.begin(&ann, WallTime(0)));
    }

    #[test]
    fn many_at_once_are_no_way_around_the_delay() {
        let (mut guesses, ann) = (Guesses::default(), key("ann"));
        let later = WallTime(1 << 40);
        assert!((0..10).all(|_| guesses.begin(&ann, WallTime(0))), "what is free is free");
        fail(&mut guesses, &ann, FREE_FAILURES, WallTime(0));
        assert!(guesses.begin(&ann, later));
        assert!(!guesses.begin(&ann, later), "one is being looked at");
        guesses.abandoned(&ann);
        assert!(guesses.begin(&ann, later));
    }

    #[test]
    fn a_known_place_is_counted_apart() {
        let (mut guesses, ann) = (Guesses::default(), key("ann"));
        let home = GuessKey { place: Some([127, 0, 0, 1].into()), ..ann.clone() };
        fail(&mut guesses, &ann, HARD_STOP, WallTime(0));
        assert!(guesses.begin(&home, WallTime(0)));
        guesses.succeeded(&home);
        assert!(!guesses.begin(&ann, WallTime(0)), "it helps only there");
    }

    #[test]
    fn what_is_counted_is_bounded_and_who_is_blocked_stays() {
        let (mut guesses, ann) = (Guesses::default(), key("ann"));
        fail(&mut guesses, &ann, 20, WallTime(0));
        let mut kept: BTreeMap<_, _> = guesses.counts.clone();
        for number in 0..COUNTERS_LIMIT + 10 {
            for (key, count) in guesses.failed(&key(&format!("u{number}")), WallTime(0)) {
                match count {
                    Some(count) => drop(kept.insert(key, count)),
                    None => drop(kept.remove(&key)),
                }
            }
        }
        assert_eq!(guesses.counts.len(), COUNTERS_LIMIT);
        assert_eq!(guesses.counts, kept, "what is kept is what there is");
        assert!(!guesses.begin(&ann, WallTime(0)));
    }
}
