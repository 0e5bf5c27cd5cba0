//! How much is taken on at a time. What is too much is refused at once and told when to come again: to let it wait would
//! make everybody wait.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use shared::error::{ApiError, ErrorCode};
use shared::id::UserName;
use shared::role::Role;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::counted::{Counted, Share};
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
/// Of one user, of either kind; admins are bound only by what there is in all.
const AT_ONCE_OF_USER: usize = 512;
/// Requests of those who have yet to prove who they are: they hold up only each other.
const STRANGERS: usize = 256;
/// And from one network.
const STRANGERS_OF_NETWORK: usize = 64;
/// Streams of tasks and files of one user at a time; admins are not bound.
const STREAMS_OF_USER: usize = 16;
/// And announcements of what is going to be uploaded, which are held in memory as a whole.
const ANNOUNCEMENTS_OF_USER: usize = 2;
/// And downloads.
const DOWNLOADS_OF_USER: usize = 64;
/// And archives, each of which takes a thread; and those of all users together.
const ARCHIVES_OF_USER: usize = 8;
const ARCHIVES: usize = 64;
/// And WebSockets.
const SOCKETS_OF_USER: usize = 1_000;
/// Refusals of strangers that are noted in the audit log, by network: the log is kept for good, and anybody can be refused.
const NOTES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).expect("not zero");
/// Networks remembered before those that have been quiet are forgotten.
const NETWORKS: usize = 10_000;

/// What is taken on.
pub struct Load {
    quick: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    of_users: Counted<UserName>,
    of_networks: Counted<IpAddr>,
    of_streams: Counted<UserName>,
    of_announcements: Counted<UserName>,
    of_downloads: Counted<UserName>,
    of_archives: Counted<UserName>,
    archives: Arc<Semaphore>,
    of_sockets: Counted<UserName>,
    users: DefaultKeyedRateLimiter<UserName>,
    notes: DefaultKeyedRateLimiter<IpAddr>,
}

/// Room for a request, until it is dropped.
pub(crate) struct Room {
    _all: OwnedSemaphorePermit,
    _user: Option<Share<UserName>>,
    _network: Option<Share<IpAddr>>,
}

/// Room for an archive, until it is dropped.
pub(super) type ArchiveRoom = (Share<UserName>, OwnedSemaphorePermit);

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
            strangers: Arc::new(Semaphore::new(STRANGERS)),
            of_users: Counted::default(),
            of_networks: Counted::default(),
            of_streams: Counted::default(),
            of_announcements: Counted::default(),
            of_downloads: Counted::default(),
            of_archives: Counted::default(),
            archives: Arc::new(Semaphore::new(ARCHIVES)),
            of_sockets: Counted::default(),
            notes: RateLimiter::keyed(Quota::per_minute(NOTES_PER_MINUTE)),
            users: RateLimiter::keyed(Quota::per_second(PER_SECOND).allow_burst(BURST)),
        }
    }
}

impl Load {
    /// Room for one more request of a user until its answer begins.
    pub(super) fn admit(&self, waits: bool, principal: &Principal) -> Result<Room, Failure> {
        let user = self.of_users.take_of(principal, AT_ONCE_OF_USER).ok_or_else(|| {
            let message = format!("{AT_ONCE_OF_USER} requests of {} are being answered already", principal.user);
            exhausted(message, "wait for the answers to some")
        })?;
        let all = enter(if waits { &self.waiting } else { &self.quick })?;
        Ok(Room { _all: all, _user: Some(user), _network: None })
    }

    /// Room for a call of a user over gRPC, if they may call again now.
    pub(crate) fn admit_call(&self, waits: bool, principal: &Principal) -> Result<Room, ApiError> {
        self.check(principal).and_then(|()| self.admit(waits, principal)).map_err(Failure::into_error)
    }

    /// The same for somebody of `network` who has yet to prove who they are.
    pub(super) fn admit_stranger(&self, network: IpAddr) -> Result<Room, Failure> {
        let of_network = self.of_networks.take(&network, STRANGERS_OF_NETWORK).ok_or_else(|| {
            let message = format!("{STRANGERS_OF_NETWORK} requests from {network} are being answered already");
            exhausted(message, "wait for the answers to some")
        })?;
        Ok(Room { _all: enter(&self.strangers)?, _user: None, _network: Some(of_network) })
    }

    /// Room for one more stream of tasks or files of a user: each holds a few MiB while it arrives.
    pub(super) fn admit_stream(&self, principal: &Principal) -> Result<Share<UserName>, ApiError> {
        self.of_streams.take_of(principal, STREAMS_OF_USER).ok_or_else(|| {
            let message = format!("{} sends {STREAMS_OF_USER} streams of tasks or files already", principal.user);
            exhausted(message, "send more in each")
        })
    }

    /// Room for one more announcement of a user, until it is known what it says.
    pub(super) fn admit_announcement(&self, principal: &Principal) -> Result<Share<UserName>, ApiError> {
        self.of_announcements.take_of(principal, ANNOUNCEMENTS_OF_USER).ok_or_else(|| {
            let message = format!("{} announces {ANNOUNCEMENTS_OF_USER} uploads at a time already", principal.user);
            exhausted(message, "wait for the answers to them")
        })
    }

    /// Room for one more download of a user, until its last byte is sent.
    pub(super) fn admit_download(&self, principal: &Principal) -> Result<Share<UserName>, ApiError> {
        self.of_downloads.take_of(principal, DOWNLOADS_OF_USER).ok_or_else(|| {
            let message = format!("{} downloads {DOWNLOADS_OF_USER} files at a time already", principal.user);
            exhausted(message, "wait for some to end")
        })
    }

    /// Room for one more archive of a user, until its last byte is sent.
    pub(super) fn admit_archive(&self, principal: &Principal) -> Result<ArchiveRoom, Failure> {
        let user = self.of_archives.take_of(principal, ARCHIVES_OF_USER).ok_or_else(|| {
            let message = format!("{} downloads {ARCHIVES_OF_USER} archives at a time already", principal.user);
            exhausted(message, "wait for some to end")
        })?;
        Ok((user, enter(&self.archives)?))
    }

    /// Room for one more WebSocket of a user, until it closes.
    pub(crate) fn admit_socket(&self, principal: &Principal) -> Result<Share<UserName>, ApiError> {
        self.of_sockets.take_of(principal, SOCKETS_OF_USER).ok_or_else(|| {
            let message = format!("{} has {SOCKETS_OF_USER} WebSockets open already", principal.user);
            exhausted(message, "close some")
        })
    }

    /// How many WebSockets are open.
    pub(super) fn sockets(&self) -> usize {
        self.of_sockets.total()
    }

    /// Whether the refusal of a stranger from `network` is noted.
    pub(super) fn is_noted(&self, network: IpAddr) -> bool {
        if self.notes.len() > NETWORKS {
            self.notes.retain_recent();
        }
        self.notes.check_key(&network).is_ok()
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
            Failure::later(exhausted(message, hint), wait.max(Duration::from_secs(1)))
        })
    }
}

fn exhausted(message: String, hint: &str) -> ApiError {
    ApiError::new(ErrorCode::ResourceExhausted, message, hint)
}

fn enter(room: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Failure> {
    room.clone().try_acquire_owned().map_err(|_| {
        let message = "the master is answering as many requests as it can";
        ApiError::new(ErrorCode::Unavailable, message, "try again in a second").into()
    })
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
        let admin = principal("admin", Role::Admin);
        let mut taken: Vec<_> = (0..AT_ONCE).map(|_| load.admit(false, &admin).expect("room")).collect();
        assert!(load.admit(false, &admin).is_err());
        let _other_kind = load.admit(true, &admin).expect("room");
        taken.pop();
        assert!(load.admit(false, &admin).is_ok());
    }

    #[test]
    fn nobody_takes_all_the_room() {
        let load = Load::default();
        let (ann, bob) = (principal("ann", Role::User), principal("bob", Role::User));
        let of_ann: Vec<_> = (0..AT_ONCE).map_while(|_| load.admit(true, &ann).ok()).collect();
        assert_eq!(of_ann.len(), AT_ONCE_OF_USER);
        assert!(load.admit(true, &bob).is_ok());
        let networks = (1..=u8::MAX).map(|last| IpAddr::from([10, 0, 0, last]));
        let strangers: Vec<_> = networks
            .flat_map(|network| (0..STRANGERS).map_while(|_| load.admit_stranger(network).ok()).collect::<Vec<_>>())
            .collect();
        assert_eq!(strangers.len(), STRANGERS, "four networks have it all");
        assert!(load.admit(false, &bob).is_ok(), "who is known is not held up by strangers");
        let streams: Vec<_> = (0..AT_ONCE).map_while(|_| load.admit_stream(&ann).ok()).collect();
        assert_eq!(streams.len(), STREAMS_OF_USER);
    }

    #[test]
    fn a_user_has_so_many_sockets_and_each_that_closes_makes_room() {
        let load = Load::default();
        let (ann, admin) = (principal("ann", Role::User), principal("admin", Role::Admin));
        let mut seats: Vec<_> = (0..SOCKETS_OF_USER).map(|_| load.admit_socket(&ann).expect("a seat")).collect();
        assert_eq!(load.admit_socket(&ann).expect_err("one too many").code, ErrorCode::ResourceExhausted);
        let others: Vec<_> = (0..SOCKETS_OF_USER + 1).map(|_| load.admit_socket(&admin).expect("a seat")).collect();
        seats.pop();
        let last = load.admit_socket(&ann).expect("a seat");
        assert_eq!(load.sockets(), 2 * SOCKETS_OF_USER + 1);
        drop((seats, others, last));
        assert_eq!(load.sockets(), 0);
    }

    #[test]
    fn a_network_does_not_fill_the_audit_log() {
        let load = Load::default();
        let [home, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let noted = (0..10_000).filter(|_| load.is_noted(home)).count();
        assert!((30..=31).contains(&noted), "{noted}");
        assert!(load.is_noted(other));
    }
}
