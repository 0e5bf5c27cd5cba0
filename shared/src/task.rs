//! What a task is, the states it passes through, and how it ends.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::confinement::Confinement;
use crate::id::{InputId, WorkerId};
use crate::policy::RunPolicy;
use crate::pull::PullPolicy;
use crate::resources::Resources;
use crate::selector::WorkerSelector;

pub use evidence::StoredPart;

use evidence::{Killed, Largest, Measured, Signalled};

mod evidence;

/// What a submission asks for, validated. One value serves all elements of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskSpec {
    /// Shown in listings; not unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Image reference, as `docker pull` takes it.
    pub image: String,
    /// When the image is pulled.
    #[serde(default, skip_serializing_if = "PullPolicy::is_default")]
    pub pull: PullPolicy,
    /// What its container is kept from.
    #[serde(default, skip_serializing_if = "Confinement::is_default")]
    pub confinement: Confinement,
    /// What runs in the container.
    #[serde(default, skip_serializing_if = "Command::is_image_default")]
    pub command: Command,
    /// Reserved on the worker and enforced on the container; storage not where [`RunPolicy::storage_reserved`] says so.
    pub resources: Resources,
    /// Environment of the container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// For filters; no meaning to the system.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Dispatch: only this worker may run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// Only workers with such labels may run it.
    #[serde(default, skip_serializing_if = "WorkerSelector::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub worker_labels: WorkerSelector,
    /// Uploaded files that it reads at /input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputId>,
    /// How long it may wait and run, and whether it runs again.
    #[serde(default, skip_serializing_if = "RunPolicy::is_default")]
    pub policy: RunPolicy,
}

/// What runs in the container. In JSON as in a submission: nothing, a text, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// What the image itself says.
    #[default]
    ImageDefault,
    /// Run by `/bin/sh -c`.
    Shell(String),
    /// Program and arguments, no shell.
    Argv(Vec<String>),
}

impl Command {
    /// Whether the image decides.
    #[must_use]
    pub fn is_image_default(&self) -> bool {
        matches!(self, Self::ImageDefault)
    }
}

/// Where a task stands. The last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for room, or for what holds it back.
    Queued,
    /// Placed on a worker: image pull, container creation.
    Pending,
    /// Its container runs.
    Running,
    /// Ended with exit code 0.
    Completed,
    /// Ended otherwise; the verdict says how.
    Failed,
    /// Stopped by a person.
    Cancelled,
}

impl TaskState {
    /// All states, in the order of a task's life.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// Whether it never changes again.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Pending | Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }

    /// The name used on every wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Not the name of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a task state (queued, pending, running, completed, failed, cancelled)")]
pub struct UnknownState(String);

impl std::str::FromStr for TaskState {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| UnknownState(text.chars().take(40).collect::<String>().escape_debug().to_string()))
    }
}

/// How a run, or a whole task, ended, with the evidence. JSON: `{"kind": ..., evidence}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Verdict {
    /// Exit code 0.
    Success,
    /// The command ended by itself with another exit code (1..=255).
    ExitCode {
        /// As the kernel reported it.
        exit_code: i32,
    },
    /// A signal that was not sent by its worker ended it. A program that ends with 128 + n by itself, as a shell does for its
    /// last command, is not told from that.
    Signal {
        /// Signal number, for example 11 for SIGSEGV.
        signal: i32,
        /// Whether somebody had the container engine send it (`docker kill`, `docker stop`), as far as the engine remembers.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_hand: bool,
    },
    /// The kernel killed it, or a process that it had started, for using more memory than its limit, and it failed.
    Oom {
        /// The limit in bytes.
        limit_bytes: u64,
        /// The most memory that all its processes had at a time, in bytes, where its worker could tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_bytes: Option<u64>,
        /// What its command ended with: 137 where it was killed itself, or ended as a process did that was. Any other code: the
        /// command went on without one that was killed, and failed by itself. None: its worker does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// The name of the process that was killed, of the last one if there were several, made printable: no more of it than
        /// the first 15 bytes, which are all that the kernel keeps. None: its worker cannot read what the kernel says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        killed_process: Option<String>,
        /// How much memory that one had for itself, without what it shared, in bytes, where the kernel says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        killed_process_bytes: Option<u64>,
    },
    /// It ran longer than its time limit, and its worker stopped it.
    Timeout {
        /// The limit in seconds.
        limit_seconds: u64,
        /// What it ended with then: 137 where it was killed, which it is after its grace. None: nobody saw it end, or its
        /// worker does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
    },
    /// It waited longer for a worker than it wanted to.
    QueueTimeout {
        /// The limit in seconds.
        limit_seconds: u64,
    },
    /// The image cannot be had.
    Image {
        /// What the engine or the registry said.
        message: String,
    },
    /// The container could not be made or started (for example: no such command in the image).
    Setup {
        /// What the engine said.
        message: String,
    },
    /// It stored more than it may, or more than was reserved for it while a disk of its worker was full, and its worker killed
    /// it; or its /output was full and it failed.
    Disk {
        /// The limit in bytes.
        limit_bytes: u64,
        /// What it had stored when that was seen, in bytes, at the least: not all of it is counted where it is far more. None:
        /// its /output is a file system of the limit's size, or its worker does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        used_bytes: Option<u64>,
        /// What took the most of it, the largest first, at most three, as far as it was counted. Empty: nobody knows.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        largest: Vec<StoredPart>,
    },
    /// The worker, or the container on it, was lost; infrastructure, not the task's fault.
    WorkerLost {
        /// What is known about it.
        message: String,
    },
    /// A person stopped it.
    Cancelled,
    /// The worker refused to run it.
    Rejected {
        /// Why.
        message: String,
    },
}

impl Verdict {
    /// Out of memory, where no more than the limit is known, in bytes.
    #[must_use]
    pub fn oom(limit_bytes: u64) -> Self {
        Self::Oom { limit_bytes, peak_bytes: None, exit_code: None, killed_process: None, killed_process_bytes: None }
    }

    /// The state that a task with this verdict ends in.
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.kind().state()
    }

    /// Whether the system and not the task is to blame, so that the run does not count against the user.
    #[must_use]
    pub fn is_infrastructure(&self) -> bool {
        matches!(self.kind(), VerdictKind::WorkerLost | VerdictKind::Rejected)
    }

    /// The exit code as a shell would show it: 128 + n for a signal; out of memory 137, whatever its command made of that;
    /// none if nothing ran.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Success => Some(0),
            Self::ExitCode { exit_code } => Some(*exit_code),
            Self::Signal { signal, .. } => Some(128 + signal),
            Self::Oom { .. } => Some(137),
            Self::Timeout { .. }
            | Self::QueueTimeout { .. }
            | Self::Image { .. }
            | Self::Setup { .. }
            | Self::Disk { .. }
            | Self::WorkerLost { .. }
            | Self::Cancelled
            | Self::Rejected { .. } => None,
        }
    }

    /// The kind without the evidence.
    #[must_use]
    pub fn kind(&self) -> VerdictKind {
        match self {
            Self::Success => VerdictKind::Success,
            Self::ExitCode { .. } => VerdictKind::ExitCode,
            Self::Signal { .. } => VerdictKind::Signal,
            Self::Oom { .. } => VerdictKind::Oom,
            Self::Timeout { .. } => VerdictKind::Timeout,
            Self::QueueTimeout { .. } => VerdictKind::QueueTimeout,
            Self::Image { .. } => VerdictKind::Image,
            Self::Setup { .. } => VerdictKind::Setup,
            Self::Disk { .. } => VerdictKind::Disk,
            Self::WorkerLost { .. } => VerdictKind::WorkerLost,
            Self::Cancelled => VerdictKind::Cancelled,
            Self::Rejected { .. } => VerdictKind::Rejected,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("success"),
            Self::ExitCode { exit_code } => write!(f, "exit code {exit_code}"),
            Self::Signal { signal, by_hand } => write!(f, "{}", Signalled { signal: *signal, by_hand: *by_hand }),
            Self::Oom { limit_bytes, peak_bytes, exit_code, killed_process, killed_process_bytes } => {
                write!(f, "out of memory ({})", Measured { limit: *limit_bytes, amount: *peak_bytes, what: "peak" })?;
                let killed = killed_process.as_deref().map(|name| Killed { name, bytes: *killed_process_bytes });
                match (killed, exit_code.filter(|code| *code != KILLED)) {
                    (None, None) => Ok(()),
                    (Some(killed), None) => write!(f, ": the kernel killed {killed}"),
                    (None, Some(code)) => write!(f, ": a process of it was killed, and it ended with exit code {code}"),
                    (Some(killed), Some(code)) => {
                        write!(f, ": a process of it was killed, {killed}, and it ended with exit code {code}")
                    }
                }
            }
            Self::Timeout { limit_seconds, exit_code: Some(KILLED) } => {
                write!(f, "timed out after {limit_seconds} s, and was killed")
            }
            Self::Timeout { limit_seconds, .. } => write!(f, "timed out after {limit_seconds} s"),
            Self::QueueTimeout { limit_seconds } => write!(f, "found no worker within {limit_seconds} s"),
            Self::Image { message } => write!(f, "image: {message}"),
            Self::Setup { message } => write!(f, "setup: {message}"),
            Self::Disk { limit_bytes, used_bytes, largest } => {
                let measured = Measured { limit: *limit_bytes, amount: *used_bytes, what: "used at least" };
                write!(f, "out of disk ({measured}){}", Largest(largest))
            }
            Self::WorkerLost { message } => write!(f, "worker lost: {message}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Rejected { message } => write!(f, "rejected: {message}"),
        }
    }
}

/// What a program ends with that was killed.
const KILLED: i32 = 128 + 9;
/// The highest number of a signal on Linux.
const LAST_SIGNAL: i32 = 64;

/// The signal that a container engine means by an exit code; none: the program ended by itself.
#[must_use]
pub fn signal_of(exit_code: i32) -> Option<i32> {
    Some(exit_code - 128).filter(|signal| (1..=LAST_SIGNAL).contains(signal))
}

/// The kinds of [`Verdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is documented at the verdict of the same name")]
pub enum VerdictKind {
    Success,
    ExitCode,
    Signal,
    Oom,
    Timeout,
    QueueTimeout,
    Image,
    Setup,
    Disk,
    WorkerLost,
    Cancelled,
    Rejected,
}

impl VerdictKind {
    /// The verdict, where the kind says all of it.
    #[must_use]
    pub fn whole(self) -> Option<Verdict> {
        match self {
            Self::Success => Some(Verdict::Success),
            Self::Cancelled => Some(Verdict::Cancelled),
            Self::ExitCode
            | Self::Signal
            | Self::Oom
            | Self::Timeout
            | Self::QueueTimeout
            | Self::Image
            | Self::Setup
            | Self::Disk
            | Self::WorkerLost
            | Self::Rejected => None,
        }
    }

    /// The state that a task with such a verdict ends in.
    #[must_use]
    pub fn state(self) -> TaskState {
        match self {
            Self::Success => TaskState::Completed,
            Self::Cancelled => TaskState::Cancelled,
            Self::ExitCode
            | Self::Signal
            | Self::Oom
            | Self::Timeout
            | Self::QueueTimeout
            | Self::Image
            | Self::Setup
            | Self::Disk
            | Self::WorkerLost
            | Self::Rejected => TaskState::Failed,
        }
    }
}

/// Where one run stands, as `attempts[].state` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// Given to a worker; its container does not run yet.
    Pending,
    /// Its container runs.
    Running,
    /// Over; the verdict says how.
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_tagged_json() {
        let verdict = Verdict::ExitCode { exit_code: 3 };
        let json = serde_json::to_string(&verdict).expect("json");
        assert_eq!(json, r#"{"kind":"exit_code","exit_code":3}"#);
        assert_eq!(serde_json::from_str::<Verdict>(&json).expect("verdict"), verdict);
        assert_eq!(serde_json::to_string(&Verdict::Success).expect("json"), r#"{"kind":"success"}"#);
    }

    #[test]
    fn who_is_out_of_memory_says_whether_the_command_was_killed_itself() {
        let of = |exit_code, name: Option<&str>, killed_process_bytes| Verdict::Oom {
            limit_bytes: 1 << 30,
            peak_bytes: None,
            exit_code,
            killed_process: name.map(str::to_owned),
            killed_process_bytes,
        };
        let oom = |exit_code| of(exit_code, None, None).to_string();
        assert_eq!(oom(None), "out of memory (limit 1 GiB)");
        assert_eq!(oom(Some(137)), "out of memory (limit 1 GiB)");
        let went_on = "out of memory (limit 1 GiB): a process of it was killed, and it ended with exit code 3";
        assert_eq!(oom(Some(3)), went_on);
        let named = of(Some(137), Some("python3"), Some(900 << 20)).to_string();
        assert_eq!(named, "out of memory (limit 1 GiB): the kernel killed python3 (900 MiB)");
        let named = of(Some(3), Some("tail"), None).to_string();
        let went_on = "out of memory (limit 1 GiB): a process of it was killed, tail, and it ended with exit code 3";
        assert_eq!(named, went_on);
        // As workers say it that know of neither exit codes nor names.
        reads_as(r#"{"kind":"oom","limit_bytes":7}"#, &Verdict::oom(7));
    }

    #[test]
    fn who_is_out_of_disk_says_what_took_the_most() {
        let part = |path: &str, bytes| StoredPart { path: path.to_owned(), bytes };
        let disk = |used_bytes, largest| Verdict::Disk { limit_bytes: 8 << 20, used_bytes, largest };
        let largest = vec![part("/output/checkpoints", 20 << 20), part("/tmp", 4096)];
        let said =
            "out of disk (limit 8 MiB, used at least 24 MiB); largest: /output/checkpoints (20 MiB), /tmp (4 KiB)";
        assert_eq!(disk(Some(24 << 20), largest).to_string(), said);
        let full = disk(None, vec![part("/output/f", 8 << 20)]);
        assert_eq!(full.to_string(), "out of disk (limit 8 MiB); largest: /output/f (8 MiB)");
        reads_as(r#"{"kind":"disk","limit_bytes":8388608,"largest":[{"path":"/output/f","bytes":8388608}]}"#, &full);
        // As workers say it that do not look for that.
        reads_as(r#"{"kind":"disk","limit_bytes":8388608}"#, &disk(None, Vec::new()));
    }

    /// And is written so.
    fn reads_as(json: &str, verdict: &Verdict) {
        assert_eq!(serde_json::from_str::<Verdict>(json).expect("a verdict"), *verdict);
        assert_eq!(serde_json::to_string(verdict).expect("json"), json);
    }

    #[test]
    fn what_was_kept_before_asks_for_no_labels_and_is_written_as_before() {
        let old = r#"{"image":"a","resources":{"cpu_millis":1,"memory_bytes":2,"storage_bytes":3,"gpu_millis":4}}"#;
        let spec: TaskSpec = serde_json::from_str(old).expect("a specification");
        assert!(spec.worker_labels.is_empty());
        assert_eq!(serde_json::to_string(&spec).expect("json"), old);
        let asking = format!(r#"{},"worker_labels":["disk=ssd","zone!=b"]}}"#, &old[..old.len() - 1]);
        let spec: TaskSpec = serde_json::from_str(&asking).expect("a specification");
        assert_eq!(spec.worker_labels.to_string(), "disk=ssd, zone!=b");
        assert_eq!(serde_json::to_string(&spec).expect("json"), asking);
    }

    #[test]
    fn states_read_back_as_written() {
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse::<TaskState>(), Ok(state));
        }
        assert!("Running".parse::<TaskState>().is_err());
    }
}
