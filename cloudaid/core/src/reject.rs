//! Refusals: typed inside, words and codes at the edge.

use std::net::SocketAddr;

use shared::error::{ApiError, ErrorCode};
use shared::id::{AttemptKey, InputId, TaskRef, TokenId, UserName, WorkerId};
use shared::link::{OLDEST_PROTOCOL, PROTOCOL};
use shared::registry::RegistryName;
use shared::resources::Bytes;
use shared::task::TaskState;
use shared::version::{PRODUCT, Skew};

use crate::files::FileUsage;
use crate::images::ImagePattern;

/// What to do without a join token that is good.
const NEW_TOKEN: &str = "make a new one: `cloudctl worker-token create`";
/// Where a worker is too new.
const MASTER_FIRST: &str =
    "update the master first: a worker may be one minor version older than its master, and not newer";
/// Where it is too old.
const UPDATE_WORKER: &str =
    "update cloudaid on the worker, to the master's version or the one before: its containers go on meanwhile";

/// How many of the patterns are named to whoever has an image that none of them matches.
const PATTERNS_SHOWN: usize = 10;

/// Why the core does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reject {
    /// No submission or element of this id.
    TaskNotFound(TaskRef),
    /// Dispatch to a worker that never registered.
    WorkerNotFound {
        /// As asked for.
        worker: WorkerId,
        /// The ones that have.
        known: Vec<WorkerId>,
    },
    /// The cluster gives strict tasks no network.
    NoStrictNetwork,
    /// The cluster does not run images of this repository.
    ImageNotAllowed {
        /// In full.
        image: String,
        /// What it runs.
        allowed: Vec<ImagePattern>,
    },
    /// The cluster runs only images that are named by their digest.
    NoDigest(String),
    /// Cancel of something that has ended otherwise.
    TaskEnded(TaskRef, TaskState),
    /// A change of something that waits no longer.
    NotQueued(TaskRef, TaskState),
    /// It would have to end first.
    NotEnded(TaskRef, TaskState),
    /// The idempotency key came with another request before.
    KeyReused,
    /// There are accounts already.
    AlreadySetUp,
    /// No account of this name.
    UserNotFound(UserName),
    /// The name is taken.
    UserExists(UserName),
    /// Without this account nobody could administer the cluster.
    LastAdmin(UserName),
    /// The account has as many personal tokens as it can have.
    TooManyTokens(UserName),
    /// There is no such login any more.
    LoginOver,
    /// A token of the login was used again that another had replaced.
    LoginReused,
    /// No input of this id, or not of this user.
    InputNotFound(InputId),
    /// Files of it have not arrived.
    InputIncomplete(InputId, u64),
    /// Tasks that have not ended read it.
    InputInUse(InputId, u32),
    /// There would be more than a user may keep.
    QuotaExceeded {
        /// Whose.
        user: UserName,
        /// What should be kept.
        more: FileUsage,
        /// How much more could be.
        room: FileUsage,
        /// Of how much.
        quota: FileUsage,
    },
    /// An upload for a run that is not the present one of this worker.
    NotCurrent(AttemptKey),
    /// A worker that speaks another protocol.
    Protocol {
        /// The worker's.
        theirs: u32,
    },
    /// A worker of a version that does not go with this one.
    Version {
        /// The worker's, whole.
        theirs: String,
        /// How it stands to this one.
        skew: Skew,
    },
    /// No join token has this secret.
    JoinTokenUnknown,
    /// The join token is good no more; says why.
    JoinTokenOver(&'static str),
    /// The join token is for a worker of this name.
    JoinTokenForAnother(WorkerId),
    /// There is no join token of this id.
    NoJoinToken(TokenId),
    /// There are as many join tokens as there can be.
    TooManyJoinTokens,
    /// No such registry knows us.
    NoRegistry(RegistryName),
    /// There are as many registries as there can be.
    TooManyRegistries,
    /// A worker of this name belongs to the cluster already.
    WorkerExists(WorkerId),
    /// A worker of this name is known at another address.
    RegisteredElsewhere(WorkerId, SocketAddr),
    /// Another worker is dialled at this address.
    AddressTaken(SocketAddr, WorkerId),
    /// No worker of this name waits to be let in.
    NotPending(WorkerId),
    /// There are as many workers as may let themselves in, or wait.
    TooManyWorkers,
    /// The connection has not proved that it is of this worker.
    NotAdmitted(WorkerId),
    /// The worker was taken out of the cluster.
    Unregistered(WorkerId),
    /// A newer connection of the same worker has taken over.
    Replaced(WorkerId),
    /// The worker was silent for longer than its lease.
    LeaseExpired(WorkerId),
}

impl From<Reject> for ApiError {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::TaskNotFound(task) => Self::new(
                ErrorCode::TaskNotFound,
                format!("there is no task {task}"),
                "`cloudctl list-tasks` lists the tasks",
            ),
            Reject::WorkerNotFound { worker, known } => {
                let hint = match known.as_slice() {
                    [] => "no worker has registered yet; `cloudaid worker` starts one".to_owned(),
                    names => {
                        let names: Vec<_> = names.iter().take(5).map(WorkerId::as_str).collect();
                        format!("known workers: {}; `cloudctl workers` lists them all", names.join(", "))
                    }
                };
                Self::new(ErrorCode::WorkerNotFound, format!("there is no worker {worker}"), hint)
            }
            Reject::NoStrictNetwork => Self::new(
                ErrorCode::PermissionDenied,
                "network: strict tasks have none on this cluster",
                "leave out network; an admin may allow it with CLOUDAI_TASKS_STRICT_NETWORK=public",
            ),
            Reject::ImageNotAllowed { image, allowed } => {
                let some = allowed.iter().take(PATTERNS_SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let others = match allowed.len().saturating_sub(PATTERNS_SHOWN) {
                    0 => String::new(),
                    others => format!(" and {others} more"),
                };
                Self::new(
                    ErrorCode::PermissionDenied,
                    format!("image: {image} is not one of those that this cluster runs"),
                    format!("it runs {some}{others}; an admin may allow more with CLOUDAI_IMAGES_ALLOWED"),
                )
            }
            Reject::NoDigest(image) => Self::new(
                ErrorCode::InvalidArgument,
                format!("image: {image} has no digest, and this cluster runs only what is named by one"),
                "give NAME@sha256:DIGEST: `docker images --digests` shows it, and so does the registry",
            ),
            Reject::TaskEnded(task, state) => Self::new(
                ErrorCode::TaskEnded,
                format!("{task} has ended already: it is {state}"),
                format!("`cloudctl show {task}` tells how it ended"),
            ),
            Reject::NotQueued(task, state) => Self::new(
                ErrorCode::Conflict,
                format!("{task} is {state}: only what is queued can be changed"),
                "submit it anew with other names and labels",
            ),
            Reject::NotEnded(task, state) => Self::new(
                ErrorCode::Conflict,
                format!("{task} is {state}: only what has ended can be deleted"),
                format!("cancel it first: `cloudctl cancel {task}`"),
            ),
            Reject::KeyReused => Self::new(
                ErrorCode::IdempotencyKeyReused,
                "this Idempotency-Key was used for a different request",
                "use a new key for new work, and the same body for a retry",
            ),
            Reject::AlreadySetUp => {
                Self::new(ErrorCode::Conflict, "the first account exists already", "log in with it: `cloudctl login`")
            }
            Reject::UserNotFound(name) => Self::new(
                ErrorCode::UserNotFound,
                format!("there is no user {name}"),
                "`cloudctl users list` lists the users",
            ),
            Reject::UserExists(name) => {
                Self::new(ErrorCode::Conflict, format!("there is a user {name} already"), "choose another name")
            }
            Reject::LastAdmin(name) => Self::new(
                ErrorCode::Conflict,
                format!("{name} is the last admin who can log in"),
                "make another admin first: `cloudctl users create NAME --role admin`",
            ),
            Reject::TooManyTokens(name) => Self::new(
                ErrorCode::ResourceExhausted,
                format!("{name} has {} tokens already", crate::account::TOKENS_LIMIT),
                "revoke some: `cloudctl tokens list`",
            ),
            Reject::LoginOver => {
                Self::new(ErrorCode::Unauthenticated, "the login has ended", "log in again: `cloudctl login`")
            }
            Reject::LoginReused => Self::new(
                ErrorCode::Unauthenticated,
                "this token was replaced by another, and used again: the login has ended, as two may have it",
                "log in again: `cloudctl login`; if no second program of yours uses the login, change the password",
            ),
            Reject::InputNotFound(id) => Self::new(
                ErrorCode::FileNotFound,
                format!("there is no input {id}"),
                "`cloudctl files list --inputs` lists yours; what is not read for long is removed: upload it again",
            ),
            Reject::InputIncomplete(id, missing) => Self::new(
                ErrorCode::Conflict,
                format!("{missing} files of {id} have not arrived"),
                format!("upload the rest: GET /api/files/{id} tells which they are"),
            ),
            Reject::InputInUse(id, readers) => Self::new(
                ErrorCode::Conflict,
                format!("{id} is read by {readers} tasks that have not ended"),
                "wait for them, or cancel them",
            ),
            Reject::QuotaExceeded { user, more, room, quota } => Self::new(
                ErrorCode::ResourceExhausted,
                format!(
                    "{user} may keep {} in {} files, and {} in {} files more would be too much: there is room for {} in {}",
                    Bytes(quota.bytes),
                    quota.files,
                    Bytes(more.bytes),
                    more.files,
                    Bytes(room.bytes),
                    room.files
                ),
                "delete what is not needed: `cloudctl files delete`",
            ),
            Reject::NotCurrent(key) => Self::new(
                ErrorCode::Conflict,
                format!("{key} is not a live attempt of this worker"),
                "it was given up: stop it and drop what it made",
            ),
            Reject::Protocol { theirs } => Self::new(
                ErrorCode::VersionSkew,
                format!("the worker speaks protocol {theirs}, this master {OLDEST_PROTOCOL} to {PROTOCOL}"),
                if theirs > PROTOCOL { MASTER_FIRST } else { UPDATE_WORKER },
            ),
            Reject::Version { theirs, skew } => Self::new(
                ErrorCode::VersionSkew,
                format!("the worker is of version {theirs}, this master of {PRODUCT}"),
                match skew {
                    Skew::Newer => MASTER_FIRST,
                    Skew::Older => UPDATE_WORKER,
                },
            ),
            Reject::JoinTokenUnknown => Self::new(
                ErrorCode::Unauthenticated,
                "the join token is not one of this cluster, or was revoked",
                NEW_TOKEN,
            ),
            Reject::JoinTokenOver(why) => {
                Self::new(ErrorCode::Unauthenticated, format!("the join token {why}"), NEW_TOKEN)
            }
            Reject::JoinTokenForAnother(name) => Self::new(
                ErrorCode::PermissionDenied,
                format!("the join token is for the worker {name} only"),
                format!("start it with --name {name}, or make a token for this one: `cloudctl worker-token create`"),
            ),
            Reject::NoJoinToken(id) => Self::new(
                ErrorCode::NotFound,
                format!("there is no join token {id}"),
                "`cloudctl worker-token list` lists those that can be used",
            ),
            Reject::TooManyJoinTokens => Self::new(
                ErrorCode::ResourceExhausted,
                format!("there are {} join tokens already", crate::admission::JOIN_TOKENS_LIMIT),
                "revoke some: `cloudctl worker-token list`",
            ),
            Reject::NoRegistry(name) => Self::new(
                ErrorCode::NotFound,
                format!("the cluster has no login at {name}"),
                "`cloudctl registry list` shows where it has one",
            ),
            Reject::TooManyRegistries => Self::new(
                ErrorCode::ResourceExhausted,
                format!("there are {} registries already", crate::registry::REGISTRIES_LIMIT),
                "take one out first: `cloudctl registry logout`",
            ),
            Reject::WorkerExists(worker) => Self::new(
                ErrorCode::Conflict,
                format!("there is a worker {worker} already"),
                format!(
                    "choose another name; or take that one out first: `cloudctl unregister {worker}`; or let a new \
                     machine take its place: `cloudctl worker-token create --name {worker}`"
                ),
            ),
            Reject::RegisteredElsewhere(worker, address) => Self::new(
                ErrorCode::Conflict,
                format!("the worker {worker} is at {address}"),
                format!("if it has moved: `cloudctl unregister {worker}`, then register it at its new address"),
            ),
            Reject::AddressTaken(address, other) => Self::new(
                ErrorCode::Conflict,
                format!("the worker {other} is at {address} already"),
                format!(
                    "give the address of another machine, or take that one out first: `cloudctl unregister {other}`"
                ),
            ),
            Reject::NotPending(worker) => Self::new(
                ErrorCode::WorkerNotFound,
                format!("no worker {worker} waits to be let in"),
                "`cloudctl workers --pending` lists those that do",
            ),
            Reject::TooManyWorkers => Self::new(
                ErrorCode::ResourceExhausted,
                "there are as many workers as may come by themselves",
                "an admin has to let some in (`cloudctl workers --pending`, `cloudctl approve WORKER`), or send them away: \
                 `cloudctl unregister WORKER`",
            ),
            Reject::NotAdmitted(worker) => Self::new(
                ErrorCode::PermissionDenied,
                format!("what this connection has proved does not make it the worker {worker}"),
                "let it join anew: `cloudctl worker-token create`",
            ),
            Reject::Unregistered(worker) => Self::new(
                ErrorCode::PermissionDenied,
                format!("the worker {worker} was taken out of the cluster"),
                "to bring it back make it join anew, with a new data directory: `cloudctl worker-token create`",
            ),
            Reject::Replaced(worker) => Self::new(
                ErrorCode::Conflict,
                format!("another connection of {worker} has taken over"),
                "if two processes use this name, give one of them another",
            ),
            Reject::LeaseExpired(worker) => {
                Self::new(ErrorCode::Timeout, format!("{worker} was silent for longer than its lease"), "connect again")
            }
        }
    }
}
