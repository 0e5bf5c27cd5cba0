//! Everything that a worker does.

use std::sync::Arc;

use shared::id::{AttemptKey, Fence, InputId};
use shared::link::{Assignment, Inventory, Report};
use shared::pull::PullPolicy;

use super::journal::JournalRecord;

/// An order to the driver. Each that can fail is answered by an input.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentEffect {
    /// Make this durable before any later effect on the same run is carried out, of this batch or of another.
    Journal(JournalRecord),
    /// Have the image, and the input if there is one: answered by `ImageReady` or `ImageFailed`.
    Prepare {
        /// For which run.
        key: AttemptKey,
        /// Which image.
        image: String,
        /// When it is pulled.
        pull: PullPolicy,
        /// Which input.
        input: Option<InputId>,
    },
    /// Make the container: answered by `Created` or `CreateFailed`.
    Create(Arc<Assignment>),
    /// Start the container: answered by `Started` or `StartFailed`.
    Start(AttemptKey),
    /// Wait for its end: answered by `Exited` or `WaitFailed`.
    Wait(AttemptKey),
    /// Send a signal. Not answered: the end of the container is the answer.
    Signal(AttemptKey, StopSignal),
    /// Bring all that it writes to the master: answered by `LogsDrained`.
    CollectLogs(AttemptKey),
    /// Freeze it whenever its log waits for the master, and thaw it when it does not, until it ends or is sent a signal. Not
    /// answered.
    HoldForLog(AttemptKey),
    /// Measure what it stores for as long as it runs: answered by `StorageExceeded` when that is more than it may, if ever. It
    /// comes again for a run that was over, and was left alone because the room of another was to be enough, and for one that
    /// had ended when it was taken up and was started again since.
    WatchStorage {
        /// Whose.
        key: AttemptKey,
        /// What it may store, in bytes: in /output and in the container's own layer together.
        limit_bytes: u64,
        /// Whether it may store more while the disks have room.
        reserved: bool,
    },
    /// Bring what it left in /output to the master: answered by `OutputsUploaded` or `UploadFailed`.
    UploadOutputs(AttemptKey),
    /// Remove the container (killing it if it runs) and its output: answered by `Removed` or `RemoveFailed`.
    Remove(AttemptKey),
    /// Ask the engine for all containers: answered by `Listed`.
    ListContainers {
        /// To be told in the answer.
        horizon: Fence,
        /// Runs whose containers must be among them.
        watched: Vec<AttemptKey>,
    },
    /// Tell the master, in this session only. It has no number before [`Agent::say`](super::Agent::say) gives it one: what
    /// waits for a record of its run is said after others that came later.
    Report(Report),
    /// Tell the master what it wanted to know, in this session only and after all reports before that do not wait.
    Answer(Inventory),
}

/// A signal that stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// Asks.
    Term,
    /// Does not ask.
    Kill,
}
