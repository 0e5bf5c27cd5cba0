//! Who may try a password: what is counted of wrong ones, by name for good and by network for a minute.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use cloudaid_core::guesses::{GuessChange, GuessKey, Guesses};
use parking_lot::Mutex;
use shared::id::UserName;
use shared::time::WallTime;

/// Wrong passwords that one network has in a minute.
const PER_MINUTE: u32 = 30;
const MINUTE: Duration = Duration::from_secs(60);
/// Networks remembered; those whose minute is over are forgotten when there are more.
const NETWORKS: usize = 10_000;

/// The counters. What is by name is kept in the store by whoever calls; what is by network is not.
pub(super) struct Gate {
    guesses: Mutex<Guesses>,
    networks: Mutex<HashMap<IpAddr, Minute>>,
}

struct Minute {
    began: Instant,
    failures: u32,
}

impl Gate {
    pub(super) fn new(guesses: Guesses) -> Self {
        Self { guesses: Mutex::new(guesses), networks: Mutex::default() }
    }

    /// Whether somebody from `network` may try now; if not, how long to wait.
    pub(super) fn check(&self, network: IpAddr, now: Instant) -> Result<(), Duration> {
        let networks = self.networks.lock();
        let minute = networks.get(&network).filter(|minute| minute.failures >= PER_MINUTE);
        let wait = minute.map_or(Duration::ZERO, |minute| (minute.began + MINUTE).saturating_duration_since(now));
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Whether the password may be looked at.
    pub(super) fn begin(&self, key: &GuessKey, now: WallTime) -> Try<'_> {
        let admitted = self.guesses.lock().begin(key, now);
        Try { gate: self, key: key.clone(), admitted }
    }

    /// Counts a wrong password from `network`.
    pub(super) fn failed(&self, network: IpAddr, now: Instant) {
        let mut networks = self.networks.lock();
        if networks.len() >= NETWORKS && !networks.contains_key(&network) {
            networks.retain(|_, minute| now < minute.began + MINUTE);
            if networks.len() >= NETWORKS {
                return;
            }
        }
        let minute = networks.entry(network).or_insert(Minute { began: now, failures: 0 });
        if now >= minute.began + MINUTE {
            *minute = Minute { began: now, failures: 0 };
        }
        minute.failures = minute.failures.saturating_add(1);
    }

    /// An account has another password: its counters start anew.
    pub(super) fn forget(&self, name: &UserName) -> Vec<GuessChange> {
        self.guesses.lock().forget(name)
    }
}

/// A password that is being looked at, or not.
pub(super) struct Try<'a> {
    gate: &'a Gate,
    key: GuessKey,
    admitted: bool,
}

impl Try<'_> {
    /// Whether it is looked at.
    pub(super) fn is_admitted(&self) -> bool {
        self.admitted
    }

    /// It was right.
    pub(super) fn succeeded(mut self) -> Vec<GuessChange> {
        self.admitted = false;
        self.gate.guesses.lock().succeeded(&self.key).into_iter().collect()
    }

    /// It was wrong. What was not looked at does not count.
    pub(super) fn failed(mut self, now: WallTime) -> Vec<GuessChange> {
        if !std::mem::take(&mut self.admitted) {
            return Vec::new();
        }
        self.gate.guesses.lock().failed(&self.key, now)
    }
}

impl Drop for Try<'_> {
    /// The caller has gone, or the machine was too busy.
    fn drop(&mut self) {
        if self.admitted {
            self.gate.guesses.lock().abandoned(&self.key);
        }
    }
}

/// What counts as one place: an IPv4 address, or the 64 bits of an IPv6 address that one subscriber has.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_thirty_wrong_passwords_a_minute() {
        let (gate, now) = (Gate::new(Guesses::default()), Instant::now());
        let [home, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        for _ in 0..PER_MINUTE {
            assert_eq!(gate.check(home, now), Ok(()));
            gate.failed(home, now);
        }
        assert_eq!(gate.check(home, now + Duration::from_secs(20)), Err(Duration::from_secs(40)));
        assert_eq!(gate.check(other, now), Ok(()));
        assert_eq!(gate.check(home, now + MINUTE), Ok(()));
        gate.failed(home, now + MINUTE);
        assert_eq!(gate.check(home, now + MINUTE), Ok(()), "a new minute counts anew");
    }

    #[test]
    fn a_try_that_is_given_up_holds_up_nobody() {
        let gate = Gate::new(Guesses::default());
        let key = GuessKey { name: "ann".parse().expect("a name"), place: None };
        let later = WallTime(1 << 40);
        for _ in 0..5 {
            assert_eq!(gate.begin(&key, WallTime(0)).failed(WallTime(0)).len(), 1);
        }
        let first = gate.begin(&key, later);
        let second = gate.begin(&key, later);
        assert!(first.is_admitted() && !second.is_admitted());
        drop(second);
        assert!(!gate.begin(&key, later).is_admitted(), "the first is still being looked at");
        drop(first);
        let third = gate.begin(&key, later);
        assert!(third.is_admitted());
        assert_eq!(third.succeeded(), [(key.clone(), None)]);
        assert!(gate.begin(&key, WallTime(0)).is_admitted());
    }

    #[test]
    fn an_ipv6_subscriber_is_one_place() {
        let place = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(place("2001:db8:1:2:3:4:5:6"), place("2001:db8:1:2::9"));
        assert_ne!(place("2001:db8:1:2::9"), place("2001:db8:1:3::9"));
        assert_eq!(place("::ffff:10.0.0.1"), place("10.0.0.1"));
    }
}
