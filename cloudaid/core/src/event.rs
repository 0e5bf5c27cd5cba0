//! What has happened, for people and machines that watch. Nothing is decided by an event.

use std::net::SocketAddr;
use std::time::Duration;

use shared::gpu::IllGpu;
use shared::id::{AttemptKey, Fence, LoginId, TaskId, TaskRef, TokenId, UserName, WorkerId};
use shared::task::{TaskState, Verdict};
use shared::worker::{Cordon, WorkerFacts};

use crate::account::{TokenRecord, UserRecord};
use crate::admission::Admission;
use crate::files::Leftover;
use crate::login::LoginRecord;

/// A fact, published after it became durable. `task` is how people know what it is about: a plain task by its own id, an
/// element of an array with its index.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are named after what they hold")]
pub enum Event {
    /// A submission was accepted.
    TaskSubmitted { task: TaskId, user: UserName, name: Option<String>, count: u32 },
    /// It has another name or other labels.
    TaskEdited { task: TaskId, name: Option<String> },
    /// It is forgotten; what it left on disk can go.
    TaskDeleted { task: TaskId, user: UserName },
    /// Files are forgotten; what is kept of them can go.
    FilesDeleted { user: UserName, leftovers: Vec<Leftover> },
    /// An upload of output files will not end; what is kept of it can go.
    UploadDropped(Leftover),
    /// A run was given to a worker.
    AttemptPlaced { task: TaskRef, key: AttemptKey, worker: WorkerId },
    /// Its container runs.
    AttemptStarted { task: TaskRef, key: AttemptKey, worker: WorkerId },
    /// It is over. `again`: the element waits for another run.
    AttemptEnded { task: TaskRef, key: AttemptKey, worker: WorkerId, verdict: Verdict, again: bool },
    /// An element is over.
    ElementEnded { task: TaskRef, verdict: Verdict },
    /// All elements are over.
    TaskEnded { task: TaskId, state: TaskState },
    /// Someone asked to cancel.
    CancelRequested { task: TaskId, elements: u32 },
    /// An account was made or changed; this is what it is now.
    AccountChanged { user: UserRecord },
    /// A personal token was made or changed, or is no more.
    TokenChanged { id: TokenId, record: Option<TokenRecord> },
    /// A login was begun or used, or is no more.
    LoginChanged { id: LoginId, record: Option<LoginRecord> },
    /// A token of a login was used again that another had replaced: two have it, and the login is over.
    LoginReused { id: LoginId, user: UserName },
    /// A worker may connect, with this proof of who it is.
    WorkerAdmitted { worker: WorkerId, admission: Admission },
    /// A worker of the first generation waits to be let in.
    WorkerWaits { worker: WorkerId, address: SocketAddr },
    /// A worker was taken out of the cluster; its runs were given up.
    WorkerUnregistered { worker: WorkerId, attempts: usize },
    /// A worker has registered.
    WorkerRegistered { worker: WorkerId, facts: WorkerFacts, rebooted: bool, kept: usize, stopped: usize },
    /// Three heartbeats are missing.
    WorkerSuspected { worker: WorkerId },
    /// It was heard of again.
    WorkerRecovered { worker: WorkerId },
    /// It says that it should get no new work, or that it may again.
    WorkerHealth { worker: WorkerId, problem: Option<String> },
    /// GPUs of it get no new work any more, or get it again.
    WorkerGpus { worker: WorkerId, ill: Vec<IllGpu>, well: Vec<String> },
    /// Its connection is closed.
    WorkerDisconnected { worker: WorkerId, live_attempts: usize },
    /// It was silent for too long: its runs were given up, but for `kept`, which go on there when it is back: they may run
    /// once at most, or no other worker could take them.
    WorkerLost { worker: WorkerId, attempts: usize, kept: usize },
    /// It gets no new work because an operator wants it so; none: it gets it again.
    WorkerCordoned { worker: WorkerId, cordon: Option<Cordon> },
    /// What still runs there is stopped, to run elsewhere.
    WorkerEvicts { worker: WorkerId, attempts: usize },
    /// It gets no new work for a while, because all its last runs failed at once.
    WorkerLeftOut { worker: WorkerId, reason: String },
    /// That while is over.
    WorkerTriedAgain { worker: WorkerId },
    /// At least half of all workers were silent at once: their runs are kept for longer.
    WorkersSilent { silent: usize, of: usize, hold: Duration },
    /// The master itself did not run for a while, so that it heard of nobody.
    MasterSlept { late: Duration },
    /// What a worker holds was compared with what it should hold.
    WorkerReconciled { worker: WorkerId, horizon: Fence, findings: Findings },
    /// A worker's word was refused and changed nothing.
    ReportRefused { worker: WorkerId, key: AttemptKey, reason: RefusedReport },
}

/// What was found on a worker, and mended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// Runs that it should hold.
    pub live: usize,
    /// Containers that its engine has.
    pub containers: u32,
    /// Containers of no live run: they are stopped and removed.
    pub orphans: Vec<AttemptKey>,
    /// Containers of live runs that it had lost sight of.
    pub adopted: Vec<AttemptKey>,
    /// Live runs whose containers are gone: they have ended.
    pub lost: Vec<AttemptKey>,
    /// Live runs that had never arrived: they are sent again.
    pub sent_again: Vec<AttemptKey>,
    /// Containers of no live run that are being stopped since an earlier comparison.
    pub leaving: Vec<AttemptKey>,
    /// Why its engine could not be asked.
    pub problem: Option<String>,
}

/// Why a report changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedReport {
    /// The run had ended already: a repetition.
    Repeated,
    /// A later run of the same element exists, or this one was given up.
    Superseded,
    /// The run belongs to another worker.
    ForeignWorker,
    /// There never was such a run.
    Unknown,
}

impl RefusedReport {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Repeated => "it had ended already",
            Self::Superseded => "it was given up, another attempt took its place",
            Self::ForeignWorker => "it belongs to another worker",
            Self::Unknown => "there is no such attempt",
        }
    }
}
