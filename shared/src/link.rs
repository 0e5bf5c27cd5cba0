//! The messages between master and worker, as both cores see them. `proto/worker_session.proto` is their wire form.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::confinement::Confinement;
use crate::gpu::{GpuLease, IllGpu};
use crate::id::{AttemptKey, ClusterId, Epoch, Fence, InputId, UserName, WorkerId};
use crate::pull::{PullPolicy, Pulling};
use crate::resources::Resources;
use crate::task::{Command, Verdict};
use crate::time::WallTime;
use crate::worker::{Usage, WorkerFacts};

/// Version of this protocol.
pub const PROTOCOL: u32 = 2;
/// The oldest version of it that a master still serves: masters are updated first, and their workers one after the other
/// while containers go on. Raised where an older worker would run a task without what it asks for: of version 1 no container
/// is confined.
pub const OLDEST_PROTOCOL: u32 = 2;

/// Whether a master of this version serves a worker that speaks `protocol`: one that is newer says what it does not know.
#[must_use]
pub fn is_served(protocol: u32) -> bool {
    (OLDEST_PROTOCOL..=PROTOCOL).contains(&protocol)
}

/// In the metadata of a refused session: its [`ErrorCode`](crate::error::ErrorCode), by name.
pub const ERROR_CODE: &str = "cloudai-error-code";
/// The largest piece of a log or file in one message, in bytes.
pub const CHUNK_LIMIT: usize = 256 * 1024;
/// In the metadata of a refused upload of outputs: how many bytes and files of it may be kept.
pub const ROOM_BYTES: &str = "cloudai-room-bytes";
/// See [`ROOM_BYTES`].
pub const ROOM_FILES: &str = "cloudai-room-files";

/// The first message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The worker's name.
    pub worker: WorkerId,
    /// See [`PROTOCOL`].
    pub protocol: u32,
    /// What it is and has.
    pub facts: WorkerFacts,
    /// Changes with every start of its process.
    pub incarnation: String,
    /// The attempts that it holds, live or ended without acknowledgement.
    pub inventory: Vec<Held>,
    /// See [`Heartbeat::problem`].
    pub problem: Option<String>,
    /// See [`Heartbeat::ill_gpus`].
    pub ill_gpus: Vec<IllGpu>,
}

/// An attempt that a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub key: AttemptKey,
    /// How far it is.
    pub phase: Phase,
}

/// How far a worker is with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Journaled; its container was not started yet.
    Accepted,
    /// Its container was started.
    Running,
    /// Its container ended; the report is not acknowledged yet.
    Finished,
}

/// The master's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The cluster that the worker has joined.
    pub cluster: ClusterId,
    /// The master's start number.
    pub epoch: Epoch,
    /// How often to send [`Heartbeat`].
    pub heartbeat: Duration,
    /// How long the worker may act on its own after it has sent the last heartbeat that is known to have arrived.
    pub lease: Duration,
    /// What to do with each attempt of the inventory.
    pub decisions: Vec<(AttemptKey, Decision)>,
}

/// What a worker shall do with an attempt it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Keep,
    /// It was given up: stop its container, drop its outcome.
    Stop,
    /// Its outcome is known: remove what is left of it.
    Forget,
}

/// What a worker holds, compared with the containers that its engine has; the answer to [`ToWorker::Inquire`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// As in the inquiry: every run with a fence up to this one was assigned before.
    pub horizon: Fence,
    /// Everything that it holds.
    pub held: Vec<Held>,
    /// Containers that it did not know of; they are among `held` now.
    pub adopted: Vec<AttemptKey>,
    /// Runs whose containers are gone; their ends are reported.
    pub lost: Vec<AttemptKey>,
    /// Runs that were given up, and are being stopped and removed; they are not among `held`.
    pub leaving: Vec<AttemptKey>,
    /// Containers of this worker.
    pub containers: u32,
    /// Why the engine could not be asked, if it could not: then only what it holds is told.
    pub problem: Option<String>,
}

/// Sent every few seconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Heartbeat {
    /// Of the whole machine.
    pub usage: Usage,
    /// Why it should get no new work: its engine does not answer, or its disk is full.
    pub problem: Option<String>,
    /// Those of its GPUs that should get no new work.
    pub ill_gpus: Vec<IllGpu>,
    /// The images that it is fetching.
    pub pulling: Vec<Pulling>,
    /// Grows by one within a session, from 1 on; the hello counts as 0.
    pub number: u64,
}

/// A run that the master gives to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Which run.
    pub key: AttemptKey,
    /// Image reference.
    pub image: String,
    /// When the image is pulled.
    #[serde(default, skip_serializing_if = "PullPolicy::is_default")]
    pub pull: PullPolicy,
    /// What the container is kept from.
    #[serde(default, skip_serializing_if = "Confinement::is_default")]
    pub confinement: Confinement,
    /// What runs.
    pub command: Command,
    /// Limits of the container.
    pub resources: Resources,
    /// The GPUs that it gets; empty: none, or so many as `resources` says, whichever the worker picks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuLease>,
    /// Environment of the container.
    pub env: BTreeMap<String, String>,
    /// Uploaded files that the container reads at /input.
    pub input: Option<InputId>,
    /// Whose task it is.
    pub user: UserName,
    /// The task's name, if it has one.
    pub name: Option<String>,
    /// Between TERM and KILL.
    pub stop_grace: Duration,
    /// How long the container may run; none: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<Duration>,
    /// Whether it is stopped when its worker has lost touch with the master for longer than the lease.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_most_once: bool,
    /// Whether it stands still while its log cannot be brought to the master as fast as it is written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blocking_log: bool,
    /// Whether the storage of `resources` is only reserved for it. Else it is ended when it stores more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub storage_reserved: bool,
}

/// Something that a worker says about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Grows by one within a session.
    pub sequence: u64,
    /// Which attempt.
    pub key: AttemptKey,
    /// What happened.
    pub change: AttemptChange,
}

/// What happened to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptChange {
    /// The image is being fetched or the container made.
    Preparing,
    /// The container runs.
    Started {
        /// By the worker's clock.
        at: WallTime,
        /// As the engine names it.
        container: String,
        /// What its image is by its content, `name@sha256:...`; none: it came from no registry, or nobody knows.
        image: Option<String>,
    },
    /// It is over, its log and its outputs are at the master.
    Finished(Outcome),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How.
    pub verdict: Verdict,
    /// By the worker's clock; none if nothing was started.
    pub started_at: Option<WallTime>,
    /// By the worker's clock.
    pub finished_at: WallTime,
    /// Bytes written to stdout.
    pub stdout_bytes: u64,
    /// Bytes written to stderr.
    pub stderr_bytes: u64,
    /// Files collected from /output.
    pub output_files: u32,
    /// The bytes in them, together; none: nobody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// What of /output was not collected, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_notes: Vec<String>,
    /// What its container has used, where the worker could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ContainerUsage>,
    /// Whether its worker was being stopped, and gave it back for another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handed_back: bool,
    /// Whether its worker may have stopped it itself and does not know: no journal spoke of it when it was taken up, and a
    /// signal has ended it that workers stop runs with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub perhaps_stopped: bool,
}

/// What a worker holds a run to. It is in the labels of its container, so that it holds when all else is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLimits {
    /// In bytes.
    pub memory_bytes: u64,
    /// Of /output and the container's own layer together, in bytes; 0: none.
    pub storage_bytes: u64,
    /// Whether that is only reserved for it, so that it is ended for storing more only where the disk is full besides.
    #[serde(default)]
    pub storage_reserved: bool,
    /// Between TERM and KILL.
    pub stop_grace: Duration,
    /// How long it may run.
    pub time_limit: Option<Duration>,
    /// Whether it is stopped when its worker's lease is over.
    pub at_most_once: bool,
    /// Whether it stands still while its log cannot be brought to the master as fast as it is written.
    #[serde(default)]
    pub blocking_log: bool,
}

impl RunLimits {
    /// Those of an assignment.
    #[must_use]
    pub fn of(assignment: &Assignment) -> Self {
        Self {
            memory_bytes: assignment.resources.memory_bytes,
            storage_bytes: assignment.resources.storage_bytes,
            storage_reserved: assignment.storage_reserved,
            stop_grace: assignment.stop_grace,
            time_limit: assignment.time_limit,
            at_most_once: assignment.at_most_once,
            blocking_log: assignment.blocking_log,
        }
    }
}

/// What all processes of a container have used together, and what they were refused, as the kernel counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerUsage {
    /// CPU time, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory at a time, in bytes, with what is cached of files; 0: nobody knows.
    pub memory_peak_bytes: u64,
    /// How many processes the kernel killed for want of memory, at the least.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub oom_kills: u64,
    /// How many times no further process or thread was started because of the limit of them, at the least.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forks_refused: u64,
}

/// A process that the kernel killed for want of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KilledProcess {
    /// Its name as the kernel has it, at most 15 bytes of it, made printable.
    pub name: String,
    /// The memory that it had for itself, in bytes, where the kernel says so.
    pub bytes: Option<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An order to stop a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelOrder {
    /// Which.
    pub key: AttemptKey,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// The limit that it has run longer than; none: a person wants it stopped.
    pub time_limit: Option<Duration>,
}

/// What a worker sends on its control stream.
#[derive(Debug, Clone, PartialEq)]
pub enum FromWorker {
    /// First.
    Hello(Hello),
    /// Every few seconds.
    Heartbeat(Heartbeat),
    /// As they come, many in one message.
    Reports(Vec<Report>),
    /// When it was asked for.
    Inventory(Inventory),
}

/// What a master sends on the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToWorker {
    /// First.
    Welcome(Welcome),
    /// Runs to start.
    Assign(Vec<Assignment>),
    /// Runs to stop.
    Cancel(Vec<CancelOrder>),
    /// All reports up to and with this sequence are durable.
    Ack {
        /// The last one.
        through: u64,
    },
    /// Wants to know what the worker holds and what its engine has.
    Inquire {
        /// The newest fence that was given out: runs up to here were assigned before.
        horizon: Fence,
    },
    /// What shall become of runs, outside of a welcome.
    Decide(Vec<(AttemptKey, Decision)>),
    /// A heartbeat has arrived: the lease counts from when it was sent.
    Heard {
        /// Which.
        number: u64,
    },
    /// The stream is about to close.
    Goodbye {
        /// Why.
        reason: String,
    },
}

/// The two streams of a container. They are kept apart and raw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// The name used on every wire and in file names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_without_what_was_refused_is_read_and_written_as_it_always_was() {
        let old = r#"{"cpu_ms":7,"memory_peak_bytes":4096}"#;
        let usage = ContainerUsage { cpu_ms: 7, memory_peak_bytes: 4096, ..ContainerUsage::default() };
        assert_eq!(serde_json::from_str::<ContainerUsage>(old).expect("usage"), usage);
        assert_eq!(serde_json::to_string(&usage).expect("json"), old);
    }
}
