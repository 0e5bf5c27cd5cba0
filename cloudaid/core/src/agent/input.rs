//! Everything that can happen to a worker.

use shared::id::{AttemptKey, Fence};
use shared::link::{Assignment, CancelOrder, ContainerUsage, Decision, KilledProcess, RunLimits, Welcome};
use shared::task::StoredPart;
use shared::time::{BootTime, WallTime};

use super::journal::JournalEntry;
use super::lease::Lease;

/// What the master says, what the engine answers, and the timer.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentInput {
    /// The master gives runs.
    Assigned(Vec<Assignment>),
    /// The master wants runs stopped.
    Cancelled(Vec<CancelOrder>),
    /// A session began.
    Connected(Welcome),
    /// The master says what shall become of runs.
    Decided(Vec<(AttemptKey, Decision)>),
    /// The master wants to know what is held.
    Inquired {
        /// To be told in the answer.
        horizon: Fence,
    },
    /// What the engine has; the answer to [`AgentEffect::ListContainers`](super::AgentEffect::ListContainers).
    Listed {
        /// As in the order.
        horizon: Fence,
        /// As in the order.
        watched: Vec<AttemptKey>,
        /// All containers of this worker, or why the engine cannot be asked.
        found: Result<Vec<FoundContainer>, String>,
    },
    /// The session ended.
    Disconnected,
    /// First of all after a start: what the journal and the engine still know.
    Recovered {
        /// What the journal adds up to.
        journal: Vec<JournalEntry>,
        /// All containers of this worker; none: the engine gives no answer, and `Surveyed` follows when it does.
        found: Option<Vec<FoundContainer>>,
        /// The lease as [`Agent::lease`](super::Agent::lease) said it in an earlier life, if that was since the host
        /// booted; none: not known.
        lease: Option<Lease>,
    },
    /// All containers of this worker, from an engine that gave no answer at the start.
    Surveyed(Vec<FoundContainer>),
    /// The image is there.
    /// With what it is by its content, `name@sha256:...`, if it came from a registry.
    ImageReady(AttemptKey, Option<String>),
    /// The image is not there.
    ImageFailed(AttemptKey, EngineError),
    /// The container is made.
    Created(AttemptKey),
    /// The container is not made, or nobody knows.
    CreateFailed(AttemptKey, EngineError),
    /// The container runs, or has already ended.
    Started(AttemptKey),
    /// The container was not started, or nobody knows.
    StartFailed(AttemptKey, EngineError),
    /// The container ended.
    Exited(AttemptKey, Ended),
    /// Waiting for its end failed.
    WaitFailed(AttemptKey, EngineError),
    /// It stores more than it may, on a disk that is full if that was only reserved for it; or it has failed with all that it
    /// may stored.
    StorageExceeded {
        /// Which.
        key: AttemptKey,
        /// How much it was, in bytes; none: its /output is a file system of its own, and full.
        used_bytes: Option<u64>,
        /// What takes the most of it, the largest first, as far as that is known.
        largest: Vec<StoredPart>,
    },
    /// All that it wrote is at the master.
    LogsDrained(AttemptKey, LogBytes),
    /// All that it left in /output is at the master.
    OutputsUploaded {
        /// Which.
        key: AttemptKey,
        /// How many files.
        files: u32,
        /// How many bytes are in them.
        bytes: u64,
        /// What was left out.
        notes: Vec<String>,
    },
    /// Its outputs cannot be brought to the master, and trying again does not help.
    UploadFailed(AttemptKey, String),
    /// The master has made all reports up to this one durable.
    Acked {
        /// The last one.
        through: u64,
    },
    /// Nothing is left of it.
    Removed(AttemptKey),
    /// Something may be left of it.
    RemoveFailed(AttemptKey),
    /// A heartbeat, or the hello, has arrived at the master.
    Heard {
        /// When it was sent.
        sent: BootTime,
    },
    /// The time asked for by `next_wake` has come.
    Tick,
    /// The process is about to end; containers go on.
    Shutdown,
    /// The process will end when nothing is left that it waits for: it takes nothing new.
    Leave {
        /// Whether what is here is stopped and given back, but for what may run once at most.
        hand_back: bool,
    },
}

/// How a container ended, as the engine says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// 0..=255; above 128 for a signal.
    pub code: i32,
    /// Whether the kernel killed something in it for want of memory.
    pub oom: bool,
    /// What that was, the last if it was more than one, where the kernel says so.
    pub killed: Option<KilledProcess>,
    /// Whether it fell with the engine, which was stopped or has crashed.
    pub by_engine: bool,
    /// The signal that somebody had the engine send it: the one that ended it, or one that asked it to end shortly before it
    /// did. Also those that this worker has sent.
    pub by_hand: Option<i32>,
    /// Whether somebody has started it again since, so that it runs.
    pub runs_again: bool,
    /// The most memory that it had at a time, in bytes, where the kernel has counted it to the end.
    pub memory_peak: Option<u64>,
    /// Where the engine says.
    pub started_at: Option<WallTime>,
    /// Where the engine says.
    pub finished_at: Option<WallTime>,
    /// What it has used, where that can be told.
    pub usage: Option<ContainerUsage>,
}

/// Bytes of each stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogBytes {
    /// Of stdout.
    pub stdout: u64,
    /// Of stderr.
    pub stderr: u64,
    /// Whether more was written that cannot be had any more, as far as anybody can tell.
    pub lacks_end: bool,
}

/// A container that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundContainer {
    /// From its labels.
    pub key: AttemptKey,
    /// Where it stands.
    pub state: ContainerState,
    /// From its labels, if they say so.
    pub limits: Option<RunLimits>,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Started, not ended.
    Running,
    /// Ended.
    Exited,
}

/// Why the engine did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineError {
    /// No such image: trying again does not help.
    ImageNotFound(String),
    /// The image could not be fetched now.
    ImageUnavailable(String),
    /// There is no room for the image: another worker may have some.
    NoRoom(String),
    /// It cannot be done as it was asked for: trying again does not help.
    Setup(String),
    /// There is no such container.
    NotFound,
    /// The engine's own trouble: later it may work.
    Engine(String),
    /// The same where the engine says afterwards that the container was not started.
    NotStarted(String),
}
