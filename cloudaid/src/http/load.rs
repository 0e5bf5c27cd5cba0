//! How much is taken on at a time. What is too much is refused at once and told when to come again: to let it wait would
//! make everybody wait.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use shared::error::{ApiError, ErrorCode};
use shared::id::UserName;
use shared::role::Role;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;
use crate::master::auth::Principal;

/// Requests of one user in a second, over time.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
/// And at once.
const BURST: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");
/// Requests that are being answered at a time.
const AT_ONCE: usize = 1_024;
/// Requests that wait for something to happen, or take their time, at once.
const WAITING: usize = 4_096;

/// What is taken on.
pub struct Load {
    quick: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    users: DefaultKeyedRateLimiter<UserName>,
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("quick", &self.quick).field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            quick: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            users: RateLimiter::keyed(Quota::per_second(PER_SECOND).allow_burst(BURST)),
        }
    }
}

impl Load {
    /// Room for one more request until its answer begins.
    pub(super) fn admit(&self, waits: bool) -> Result<OwnedSemaphorePermit, Failure> {
        let room = if waits { &self.waiting } else { &self.quick };
        room.clone().try_acquire_owned().map_err(|_| {
            let message = "the master is answering as many requests as it can";
            ApiError::new(ErrorCode::Unavailable, message, "try again in a second").into()
        })
    }

    /// Whether a user may ask again now. Admins always may.
    pub(super) fn check(&self, principal: &Principal) -> Result<(), Failure> {
        if principal.role == Role::Admin {
            return Ok(());
        }
        self.users.check_key(&principal.user).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let message = format!("{} sends more than {PER_SECOND} requests a second", principal.user);
            let hint = "send fewer, or many tasks at once as application/x-ndjson";
            Failure::later(ApiError::new(ErrorCode::ResourceExhausted, message, hint), wait.max(Duration::from_secs(1)))
        })
    }
}

#[cfg(test)]
mod tests {
    use shared::id::LoginId;

    use super::*;
    use crate::master::auth::Via;

    fn principal(name: &str, role: Role) -> Principal {
        Principal { user: name.parse().expect("a name"), role, via: Via::Login(LoginId(7u128.into())) }
    }

    #[test]
    fn a_user_has_a_burst_and_then_a_rate_and_an_admin_neither() {
        let load = Load::default();
        let (ann, bob, admin) =
            (principal("ann", Role::User), principal("bob", Role::User), principal("admin", Role::Admin));
        let allowed = (0..BURST.get() * 2).filter(|_| load.check(&ann).is_ok()).count();
        assert!((BURST.get() as usize..BURST.get() as usize + 200).contains(&allowed), "{allowed}");
        assert!(load.check(&bob).is_ok(), "others are not held up");
        assert!((0..BURST.get() * 2).all(|_| load.check(&admin).is_ok()));
    }

    #[test]
    fn what_is_too_much_is_refused_and_room_comes_back() {
        let load = Load::default();
        let mut taken: Vec<_> = (0..AT_ONCE).map(|_| load.admit(false).expect("room")).collect();
        assert!(load.admit(false).is_err());
        let _other_kind = load.admit(true).expect("room");
        taken.pop();
        assert!(load.admit(false).is_ok());
    }
}
