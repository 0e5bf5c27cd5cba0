//! Everything that can happen to the cluster.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use shared::array::Array;
use shared::id::{AttemptKey, InputId, RequestId, SessionId, TaskId, TaskRef, UserName, WorkerId};
use shared::link::{Heartbeat, Hello, Inventory, Report};
use shared::registry::RegistryName;
use shared::submit::TaskEdit;
use shared::task::TaskSpec;
use shared::time::{BootTime, WallTime};
use shared::worker::Cordon;

use crate::account::{AccountChange, TokenChange, UserRecord};
use crate::admission::{JoinTokenChange, Joining, PendingRecord, Proof};
use crate::audit::AuditNote;
use crate::files::{FileUsage, GoneFile, InputFile, Leftover, UploadRecord};
use crate::guesses::GuessChange;
use crate::login::LoginChange;
use crate::record::{FileRecord, IdempotencyKey, TaskRecord};
use crate::registry::RegistryRecord;

/// A command of a client, a fact from a worker, or time.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A client hands in work. `known` is what the store says about its idempotency key.
    SubmitTask {
        /// Who waits for the answer.
        request: RequestId,
        /// The work.
        submission: Submission,
        /// The submission that was made with the same key, if the store knows one.
        known: Option<Arc<TaskRecord>>,
    },
    /// A client wants a task, or one element of it, stopped.
    CancelTask {
        /// Who waits for the answer.
        request: RequestId,
        /// What to stop.
        task: TaskRef,
        /// Whether it ends now, without its worker's word.
        force: bool,
    },
    /// A client wants another name or other labels for a task.
    EditTask {
        /// Who waits for the answer.
        request: RequestId,
        /// Which.
        task: TaskId,
        /// What shall become of it.
        edit: TaskEdit,
    },
    /// A client wants a task forgotten. The store holds it.
    DeleteTask {
        /// Who waits for the answer.
        request: RequestId,
        /// Which.
        task: TaskId,
        /// Whose it is, as the store says.
        user: UserName,
        /// What the store has of its files.
        files: FileUsage,
    },
    /// What nothing names any more is gone.
    Swept {
        /// What.
        leftover: Leftover,
    },
    /// A client uploads files for tasks to read.
    AddInput {
        /// Who waits for the answer.
        request: RequestId,
        /// The id that it gets.
        id: InputId,
        /// Whose it is.
        user: UserName,
        /// All its files, arrived or not.
        files: Arc<[InputFile]>,
    },
    /// Files of an input have arrived and are durable.
    InputFilesReceived {
        /// Who waits for the answer.
        request: RequestId,
        /// Which input.
        id: InputId,
        /// Those of them that had arrived before stay as they were.
        files: Arc<[InputFile]>,
    },
    /// A client wants an input forgotten.
    DeleteInput {
        /// Who waits for the answer.
        request: RequestId,
        /// Which.
        id: InputId,
    },
    /// A part of an input has arrived.
    UseInput {
        /// Which input.
        id: InputId,
    },
    /// Inputs that are not used are to go.
    ExpireInputs {
        /// Those that were last used before.
        unused_since: WallTime,
        /// But for these, which are being uploaded.
        except: BTreeSet<InputId>,
    },
    /// A client wants output files forgotten. The store holds them.
    DeleteFiles {
        /// Who waits for the answer.
        request: RequestId,
        /// Whose they are.
        user: UserName,
        /// Which.
        files: Arc<[GoneFile]>,
    },
    /// All output files of some runs are no longer wanted.
    DeleteRunFiles {
        /// Who waits for the answer.
        request: RequestId,
        /// Whose they are.
        user: UserName,
        /// Which runs.
        runs: Vec<AttemptKey>,
        /// What the store has of them.
        size: FileUsage,
    },
    /// Somebody makes the first account.
    CreateFirstUser {
        /// Who waits for the answer.
        request: RequestId,
        /// The account.
        user: UserRecord,
    },
    /// Somebody with the right to it wants an account made or changed.
    ChangeAccount {
        /// Who waits for the answer.
        request: RequestId,
        /// Which account.
        name: UserName,
        /// What shall become of it.
        change: AccountChange,
    },
    /// Somebody with the right to it wants a personal token made or ended, or it was used.
    ChangeToken {
        /// Who waits for the answer.
        request: RequestId,
        /// What shall become of it.
        change: TokenChange,
    },
    /// Somebody with the right to it wants a login begun, renewed or ended, or it was used.
    ChangeLogin {
        /// Who waits for the answer.
        request: RequestId,
        /// What shall become of it.
        change: LoginChange,
    },
    /// A call is to be noted.
    Audit {
        /// What is known of it.
        note: AuditNote,
        /// The requests that it made just before, in their order; what they were answered is noted too.
        of: Vec<RequestId>,
    },
    /// Passwords were guessed, or guesses are forgotten.
    KeepGuesses {
        /// Who waits for the answer.
        request: RequestId,
        /// The counters that have changed.
        changes: Vec<GuessChange>,
    },
    /// An operator wants to stop the master: nothing new is started from now on.
    Drain {
        /// Who waits for the answer.
        request: RequestId,
    },
    /// All output files of a run have arrived and are durable.
    FilesStored {
        /// Who waits for the answer.
        request: RequestId,
        /// Who sent them.
        worker: WorkerId,
        /// Whose they are.
        key: AttemptKey,
        /// The files.
        files: Arc<[FileRecord]>,
        /// What the store has of this run already.
        before: Vec<GoneFile>,
    },
    /// More output files of a run have arrived and are durable. They are for nobody to see until [`Input::UploadEnded`].
    FilesStaged {
        /// Who waits for the answer.
        request: RequestId,
        /// Who sent them.
        worker: WorkerId,
        /// Whose they are.
        key: AttemptKey,
        /// The files.
        files: Arc<[FileRecord]>,
        /// How far the upload is with them.
        upload: UploadRecord,
    },
    /// The last output files of a run have arrived and are durable. Nothing else is known of it.
    UploadEnded {
        /// Who waits for the answer.
        request: RequestId,
        /// Who sent them.
        worker: WorkerId,
        /// Whose they are.
        key: AttemptKey,
        /// The files of the upload that are not staged yet.
        files: Arc<[FileRecord]>,
        /// Those that are staged; none: nothing of the upload is.
        staged: Option<FileUsage>,
    },
    /// An upload of output files begins anew, or its run is over: what is staged goes.
    DropUpload {
        /// Who waits for the answer.
        request: RequestId,
        /// Whose files they are.
        key: AttemptKey,
        /// Whether their bytes still have to go.
        sweep: bool,
    },
    /// An operator wants every connected worker to be asked what it holds.
    FixResources {
        /// Who waits for the answer.
        request: RequestId,
    },
    /// A worker says what it holds.
    WorkerInventoried {
        /// Which worker.
        worker: WorkerId,
        /// Over which connection.
        session: SessionId,
        /// What it says.
        inventory: Inventory,
    },
    /// An admin makes a join token, or ends one.
    ChangeJoinToken {
        /// Who waits for the answer.
        request: RequestId,
        /// What shall become of it.
        change: JoinTokenChange,
    },
    /// An admin says what a registry knows us by, or that it does no more.
    ChangeRegistry {
        /// Who waits for the answer.
        request: RequestId,
        /// Which.
        name: RegistryName,
        /// What is known there; none: nothing any more.
        record: Option<RegistryRecord>,
    },
    /// A worker wants to join.
    JoinWorker {
        /// Who waits for the answer.
        request: RequestId,
        /// Who, and with what.
        joining: Joining,
    },
    /// An admin registers a worker of the first generation.
    RegisterWorker {
        /// Who waits for the answer.
        request: RequestId,
        /// Its name.
        worker: WorkerId,
        /// Where it listens.
        address: SocketAddr,
    },
    /// A worker of the first generation says that it is there.
    WorkerAnnounced {
        /// Who waits for the answer.
        request: RequestId,
        /// Who asks.
        asking: PendingRecord,
        /// Whether whoever is not known is let in.
        open: bool,
    },
    /// An admin lets a worker in that waits.
    ApproveWorker {
        /// Who waits for the answer.
        request: RequestId,
        /// Which.
        worker: WorkerId,
        /// Where it listens, if not where it has said.
        address: Option<SocketAddr>,
    },
    /// An operator wants a worker to get no new work, or to get it again.
    CordonWorker {
        /// Who waits for the answer.
        request: RequestId,
        /// Which.
        worker: WorkerId,
        /// Why not; none: again.
        cordon: Option<Cordon>,
    },
    /// An admin takes a worker out of the cluster.
    UnregisterWorker {
        /// Who waits for the answer.
        request: RequestId,
        /// Which.
        worker: WorkerId,
    },
    /// A worker has connected.
    WorkerConnected {
        /// Its connection.
        session: SessionId,
        /// What was proved on it.
        proof: Proof,
        /// What it says of itself.
        hello: Hello,
    },
    /// A worker's connection is closed.
    WorkerDisconnected {
        /// Which worker.
        worker: WorkerId,
        /// Which connection; an older one than the present changes nothing.
        session: SessionId,
    },
    /// A worker was heard of. Stamped on arrival, before any queue.
    WorkerHeard {
        /// Which worker.
        worker: WorkerId,
        /// Over which connection.
        session: SessionId,
        /// When.
        at: BootTime,
        /// What it said of itself, if this was a heartbeat.
        heartbeat: Option<Heartbeat>,
    },
    /// A worker reports on its runs.
    WorkerReported {
        /// Which worker.
        worker: WorkerId,
        /// Over which connection.
        session: SessionId,
        /// In their order.
        reports: Vec<Report>,
    },
    /// The time that [`crate::Cluster::next_wake`] asked for has come.
    TimerFired,
}

/// A validated submission. The id was made outside, where randomness is allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Its id, unless an earlier submission has the same key.
    pub id: TaskId,
    /// Whose it is.
    pub user: UserName,
    /// What runs.
    pub spec: Arc<TaskSpec>,
    /// Its elements; none: a plain task.
    pub array: Option<Arc<Array>>,
    /// The submission of which this one runs elements again.
    pub retry_of: Option<TaskId>,
    /// The client's idempotency key.
    pub key: Option<IdempotencyKey>,
}
