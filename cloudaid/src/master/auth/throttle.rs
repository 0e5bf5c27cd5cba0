//! Slows down whoever guesses passwords. Names without an account are counted like those with one, so nothing is told.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shared::id::UserName;

/// Failures that cost nothing: people mistype.
const FREE_FAILURES: u32 = 5;
/// The delay doubles from one second up to this.
const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);
/// Names remembered. When it is full those that wait no longer are forgotten, then the one whose wait ends first.
const NAMES: usize = 10_000;

/// Failed logins by account, in memory.
#[derive(Default)]
pub(super) struct Throttle {
    accounts: Mutex<HashMap<UserName, Failures>>,
}

struct Failures {
    count: u32,
    blocked_until: Instant,
}

impl Throttle {
    /// Whether a login for `name` may be tried now; if not, how long to wait.
    pub(super) fn check(&self, name: &UserName, now: Instant) -> Result<(), Duration> {
        let accounts = self.accounts.lock();
        let wait =
            accounts.get(name).map_or(Duration::ZERO, |failures| failures.blocked_until.saturating_duration_since(now));
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Counts a wrong password.
    pub(super) fn failed(&self, name: &UserName, now: Instant) {
        let mut accounts = self.accounts.lock();
        if accounts.len() >= NAMES && !accounts.contains_key(name) {
            make_room(&mut accounts, now);
        }
        let failures = accounts.entry(name.clone()).or_insert(Failures { count: 0, blocked_until: now });
        failures.count = failures.count.saturating_add(1);
        failures.blocked_until = now + delay(failures.count);
    }

    /// Forgets the failures of an account.
    pub(super) fn succeeded(&self, name: &UserName) {
        self.accounts.lock().remove(name);
    }
}

fn delay(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1 << beyond.min(30)).min(LONGEST_DELAY),
    }
}

fn make_room(accounts: &mut HashMap<UserName, Failures>, now: Instant) {
    accounts.retain(|_, failures| failures.blocked_until > now);
    if accounts.len() >= NAMES {
        let first = accounts.iter().min_by_key(|(_, failures)| failures.blocked_until);
        if let Some(name) = first.map(|(name, _)| name.clone()) {
            accounts.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        text.parse().expect("a name")
    }

    #[test]
    fn the_fifth_failure_delays_and_each_one_more_doubles() {
        let (throttle, now, ann) = (Throttle::default(), Instant::now(), name("ann"));
        for _ in 0..FREE_FAILURES - 1 {
            throttle.failed(&ann, now);
        }
        assert_eq!(throttle.check(&ann, now), Ok(()));
        for seconds in [1, 2, 4, 8] {
            throttle.failed(&ann, now);
            assert_eq!(throttle.check(&ann, now), Err(Duration::from_secs(seconds)));
            assert_eq!(throttle.check(&ann, now + Duration::from_secs(seconds)), Ok(()));
        }
        for _ in 0..100 {
            throttle.failed(&ann, now);
        }
        assert_eq!(throttle.check(&ann, now), Err(LONGEST_DELAY));
        assert_eq!(throttle.check(&name("bob"), now), Ok(()));
        throttle.succeeded(&ann);
        assert_eq!(throttle.check(&ann, now), Ok(()));
    }

    #[test]
    fn the_memory_of_names_is_bounded_and_keeps_who_is_blocked() {
        let (throttle, now, ann) = (Throttle::default(), Instant::now(), name("ann"));
        for _ in 0..20 {
            throttle.failed(&ann, now);
        }
        for number in 0..NAMES + 10 {
            throttle.failed(&name(&format!("u{number}")), now);
        }
        assert!(throttle.accounts.lock().len() <= NAMES);
        assert!(throttle.check(&ann, now).is_err());
    }
}
