//! What runs containers: one trait, and one conformance suite ([`contract`]) that every implementation passes.
//!
//! A container is named after its attempt, so that whatever is tried twice finds what the first try left. Nothing of an
//! engine's own types crosses this trait.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use shared::confinement::Confinement;
use shared::id::{AttemptKey, ClusterId, WorkerId};
use shared::link::LogStream;
use shared::link::{ContainerUsage, KilledProcess, RunLimits};
use shared::pull::{PullPolicy, Pulling, RegistryLogin};
use shared::resources::Resources;
use shared::task::Command;
use shared::time::WallTime;

pub mod contract;
pub mod docker;
pub mod fake;
pub mod output;

mod facts;
mod nameless;

pub use facts::{EngineFacts, Limit};
pub use nameless::Nameless;

/// Runs containers on one machine.
#[async_trait]
pub trait Runtime: Send + Sync + fmt::Debug + 'static {
    /// Whether the engine answers, and what it is.
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError>;

    /// How it is set up, for whoever looks after its machine; none: nobody sets it up.
    async fn describe(&self) -> Result<Option<EngineFacts>, RuntimeError>;

    /// Makes sure that the image is there: present, or pulled, as the policy says. Returns what it is by its content,
    /// `name@sha256:...`; none: it came from no registry.
    async fn prepare_image(&self, wish: &ImageWish) -> Result<Option<String>, RuntimeError>;

    /// The images that are being fetched now, or could not be and are wanted still, by name.
    fn pulling(&self) -> Vec<Pulling>;

    /// Removes images that were fetched for tasks and are not in use, the one first that was used longest ago, as far as its
    /// disk is short of room.
    async fn keep_room(&self) -> Result<(), RuntimeError>;

    /// Makes the container, or finds the one that an earlier try made for the same attempt.
    async fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError>;

    /// Starts it. Starting one that runs or has ended is no error and does not start it again.
    async fn start(&self, key: &AttemptKey) -> Result<(), RuntimeError>;

    /// Waits for its end, however long that takes.
    async fn wait(&self, key: &AttemptKey) -> Result<Exit, RuntimeError>;

    /// Asks it to end, or kills it. One that does not run is no error.
    async fn signal(&self, key: &AttemptKey, signal: StopSignal) -> Result<(), RuntimeError>;

    /// Lets none of its processes run, or all of them again. One that does not run is no error.
    async fn freeze(&self, key: &AttemptKey, frozen: bool) -> Result<(), RuntimeError>;

    /// Everything that it has written and will write, from the first byte or from `from` on, until its end; each stream in
    /// its own order.
    async fn logs(&self, key: &AttemptKey, from: LogMark) -> Result<LogPieces, RuntimeError>;

    /// What it stores where the host does not see it by itself: in any place but those that the host gave it.
    async fn stored(&self, key: &AttemptKey) -> Result<Stored, RuntimeError>;

    /// All containers of this worker, whatever their state.
    async fn inventory(&self, cluster: ClusterId, worker: &WorkerId) -> Result<Vec<Found>, RuntimeError>;

    /// Kills it if it runs, and removes it. One that is gone is no error.
    async fn remove(&self, key: &AttemptKey) -> Result<(), RuntimeError>;
}

/// See [`Runtime::logs`].
pub type LogPieces = Pin<Box<dyn Stream<Item = Result<LogPiece, RuntimeError>> + Send>>;

/// What comes out of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPiece {
    /// What was written next to a stream.
    Data(LogStream, Bytes),
    /// A later reading can begin there, as at those that were told before. At those it cannot any more where this is the first
    /// that the engine has, or the start.
    Mark(LogMark),
    /// Something before this was dropped by the engine before it was read, nobody knows how much.
    Gap,
    /// Something that was written may be missing, nobody knows where: an engine that was to keep it has ended meanwhile.
    Doubt,
}

impl LogPiece {
    /// What was written, if it is that.
    #[must_use]
    pub fn data(self) -> Option<(LogStream, Bytes)> {
        match self {
            Self::Data(stream, bytes) => Some((stream, bytes)),
            Self::Mark(_) | Self::Gap | Self::Doubt => None,
        }
    }
}

/// A place in a log: everything before it was written before that time. The default is the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogMark {
    /// Seconds since the epoch; 0: the start.
    pub at: i64,
    /// How many bytes of stdout and of stderr are before it.
    pub bytes: [u64; 2],
    /// Whether the last line of each before it was one that the engine had cut.
    pub cut: [bool; 2],
    /// Whether it is the first that the engine had of the log: what was written first of what is behind it was written at
    /// that time, and if it is not there any more the engine has dropped it.
    #[serde(default)]
    pub first: bool,
}

impl LogMark {
    /// Whether something behind it was dropped, where what is read first was written at that second.
    pub(crate) fn is_past(&self, second: i64) -> bool {
        match self.first {
            // A clock may have been set back.
            true => second != self.at,
            // There is something of that very second, or it would be no place. The start is one that nothing is known of.
            false => *self != Self::default() && second > self.at,
        }
    }
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// Name and version, for people.
    pub description: String,
    /// CPUs that it can give, in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory that it can give, in bytes.
    pub memory_bytes: u64,
    /// Where it keeps images and containers, if it says so and this process can see it.
    pub root: Option<PathBuf>,
}

/// What a registry knows us by, for whoever has to pull an image.
#[async_trait]
pub trait Logins: Send + Sync + fmt::Debug {
    /// Asked before each pull, and only then; none: nothing.
    async fn login(&self) -> Result<Option<RegistryLogin>, RuntimeError>;
}

/// An image that a run needs.
#[derive(Debug, Clone)]
pub struct ImageWish {
    /// Image reference.
    pub image: String,
    /// When it is pulled.
    pub pull: PullPolicy,
    /// Who says what its registry knows us by; none: it is for everybody.
    pub logins: Option<Arc<dyn Logins>>,
}

impl ImageWish {
    /// One that everybody may have.
    #[must_use]
    pub fn new(image: &str, pull: PullPolicy) -> Self {
        Self { image: image.to_owned(), pull, logins: None }
    }
}

/// A container to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Names it.
    pub key: AttemptKey,
    /// Labels it.
    pub cluster: ClusterId,
    /// Labels it.
    pub worker: WorkerId,
    /// Labels it: the task's name, for people who look at the engine.
    pub name: Option<String>,
    /// Image reference.
    pub image: String,
    /// What it is kept from.
    pub confinement: Confinement,
    /// What runs.
    pub command: Command,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Limits.
    pub resources: Resources,
    /// The GPUs that it gets, by their UUIDs; empty: none, or as many as `resources` says, whichever the engine picks.
    pub gpus: Vec<String>,
    /// Directory of the host that the container sees as /output, or where the same file system is mounted. Made with the container ([`output::ensure`]), if it is
    /// not there.
    pub output: PathBuf,
    /// The block device of the file system that is mounted there, if it is one of its own: the engine mounts it itself.
    pub output_device: Option<PathBuf>,
    /// Directory of the host that the container sees as /input, and cannot write to.
    pub input: Option<PathBuf>,
    /// Labels it. Its grace is for whoever stops it by hand too.
    pub limits: RunLimits,
}

/// See [`Runtime::stored`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// Bytes in its own layer.
    pub bytes: u64,
    /// Directory of the host with what it has changed of its image, where the engine says so.
    pub layer: Option<PathBuf>,
    /// What the engine gave it for the volumes of its image. They go with it.
    pub volumes: Vec<MountedPlace>,
    /// Who may be asked for files on any disk that have no name any more and that it still holds: by whoever has the time, as
    /// the engine has nothing to do with that. None: nobody.
    pub nameless: Option<Nameless>,
}

/// A directory that a container sees under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedPlace {
    /// On the host.
    pub host: PathBuf,
    /// In the container, from its root on.
    pub inside: String,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// 0..=255; above 128 for a signal.
    pub code: i32,
    /// Whether the kernel killed something in it for want of memory.
    pub oom: bool,
    /// What that was, the last if it was more than one, where it failed and the kernel says so.
    pub killed: Option<KilledProcess>,
    /// Whether it fell with the engine, which was stopped or has crashed: nobody's program has anything to do with it.
    pub by_engine: bool,
    /// The signal that somebody had the engine send it: the one that ended it, or one that asked it to end shortly before it
    /// did. Also those of [`Runtime::signal`].
    pub by_hand: Option<i32>,
    /// Whether somebody has started it again since, so that it runs: it can be waited for again.
    pub runs_again: bool,
    /// The most memory that it had at a time, in bytes, where the kernel has counted it to the end.
    pub memory_peak: Option<u64>,
    /// By the engine's clock, where it says.
    pub started_at: Option<WallTime>,
    /// By the engine's clock, where it says.
    pub finished_at: Option<WallTime>,
    /// What it has used, where that can be told.
    pub usage: Option<ContainerUsage>,
}

/// A signal that stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// Asks, with TERM or with what its image wants to be sent instead.
    Term,
    /// Does not ask.
    Kill,
}

/// A container that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// From its labels.
    pub key: AttemptKey,
    /// Where it stands.
    pub state: FoundState,
    /// From its labels, if they say so.
    pub limits: Option<RunLimits>,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundState {
    /// Made, never started.
    Created,
    /// Started, not ended.
    Running,
    /// Ended.
    Exited,
}

/// Why the engine did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// No such image, or no right to it: trying again does not help.
    #[error("{0}")]
    ImageNotFound(String),
    /// The image could not be fetched now, or has gone meanwhile.
    #[error("{0}")]
    ImageUnavailable(String),
    /// The container cannot be made or started as it was asked for.
    #[error("{0}")]
    Setup(String),
    /// There is no such container.
    #[error("no such container")]
    NotFound,
    /// There is no room for the image here.
    #[error("{0}")]
    NoRoom(String),
    /// The engine does not answer, or failed for a reason of its own.
    #[error("container engine: {0}")]
    Engine(String),
    /// It failed to start the container for a reason of its own, and says that it has not started it.
    #[error("container engine: {0}")]
    NotStarted(String),
}
