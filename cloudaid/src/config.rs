//! Settings: what each role is started with, typed and checked as a whole before anything is opened.
//!
//! [`table`] lists every setting in one row; [`Layers`] holds what was found, [`Settings`] turns it into the values below.
//! Built-in defaults < file < `.env` < environment < flags.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cloudaid_core::files::FileUsage;
use cloudaid_core::images::ImageRules;
use shared::confinement::{NetworkAccess, Profile};
use shared::id::{UserName, WorkerId};

use crate::http::Site;
use crate::master::files::S3Config;
use crate::master::logs::Keep;
use crate::runtime::docker::PullLimits;
use crate::tls::own::OwnFiles;

mod check;
mod dotenv;
mod file;
mod layers;
mod machine;
mod parse;
mod problem;
mod secret;
mod settings;
pub mod show;
pub mod table;

pub use layers::{Layers, Origin, Value};
pub use machine::Machine;
pub use problem::{ConfigError, Problem};
pub use secret::Secret;
pub use settings::Settings;
pub use table::Role;

/// What a master is started with.
#[derive(Debug, Clone)]
pub struct MasterConfig {
    /// Everything it knows is below this directory.
    pub data_dir: PathBuf,
    /// Where the admin API listens.
    pub http: SocketAddr,
    /// Where workers connect.
    pub grpc: SocketAddr,
    /// Signs logins; if none, the master makes one and keeps it.
    pub jwt_secret: Option<Secret>,
    /// What the secret was before.
    pub previous_jwt_secret: Option<Secret>,
    /// How browsers reach the admin API.
    pub site: Site,
    /// Whether each request of the admin API is logged.
    pub access_log: bool,
    /// How long a token lets in before it must be renewed.
    pub token_ttl: Duration,
    /// Who may make an account for themselves.
    pub registration: Registration,
    /// How many characters a new password has at least.
    pub least_password_chars: usize,
    /// Whether the last lines of a task's log are logged when it ends.
    pub print_task_logs: bool,
    /// How long silence is borne.
    pub leases: LeaseSettings,
    /// How often a task is tried when it fails through no fault of its own.
    pub infrastructure_attempts: u32,
    /// The least strict profile of a task.
    pub task_profile: Profile,
    /// Whose tasks are strict in any case.
    pub strict_users: BTreeSet<UserName>,
    /// Pools on whose workers tasks are strict in any case.
    pub strict_pools: BTreeSet<String>,
    /// The most that strict tasks may have of the network.
    pub strict_network: NetworkAccess,
    /// Which images tasks may have.
    pub images: ImageRules,
    /// Where files are kept, how many and how long.
    pub files: FileSettings,
    /// What of the logs of tasks is kept.
    pub task_logs: TaskLogSettings,
    /// Where all facts are kept.
    pub store: StoreSettings,
    /// How it is encrypted.
    pub tls: TlsSettings,
    /// How long a worker's certificate is good.
    pub worker_certificate_ttl: Duration,
    /// Whether workers of the first generation are served, which speak in plaintext.
    pub allow_plaintext_workers: bool,
    /// Whether those of them that nobody has registered are let in at once.
    pub open_admission: bool,
    /// Make an account for the person at this machine if there is none, and log in. Only `dev` wants that.
    pub bootstrap_admin: bool,
    /// Make a token for this worker to join with. Only `dev` wants that.
    pub bootstrap_worker: Option<WorkerId>,
}

/// How a master is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whether the admin API is. The port for workers always is.
    pub http: bool,
    /// The operator's certificate; none: the built-in authority's.
    pub own: Option<OwnFiles>,
    /// Names and addresses of this machine, for the certificate.
    pub names: Vec<String>,
}

/// Where all facts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The MongoDB; none: the data directory.
    pub mongodb: Option<MongoSettings>,
}

/// A MongoDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MongoSettings {
    /// Where it is, and who the master is to it.
    pub address: MongoAddress,
    /// The database, if the address names none.
    pub database: String,
    /// Whether there is no start without it.
    pub required: bool,
}

/// Where a MongoDB is, and who the master is to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MongoAddress {
    /// All in one.
    Uri(Secret),
    /// Piece by piece.
    Parts {
        /// `HOST` or `HOST:PORT`.
        host: String,
        /// Name and password.
        user: Option<(Secret, Secret)>,
    },
}

/// How much of what tasks write is kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskLogSettings {
    /// Of each run.
    pub keep: Keep,
    /// Of all together, in bytes; none: without bounds.
    pub total: Option<u64>,
    /// How long a log stays after the end of its task; none: for ever.
    pub retention: Option<Duration>,
    /// The same of tasks that failed.
    pub failed_retention: Option<Duration>,
}

/// Where files are kept, how many and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// The bucket; none: the data directory.
    pub s3: Option<S3Config>,
    /// How long output files stay after the end of their task; none: for ever.
    pub retention: Option<Duration>,
    /// How long uploaded files stay that no task reads; none: for ever.
    pub input_retention: Option<Duration>,
    /// The most that a user may have.
    pub quota: FileUsage,
}

/// How long silence is borne. `heartbeat < suspect < lease < reassign` always holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Between two reports of a worker.
    pub heartbeat: Duration,
    /// Then it gets no new tasks.
    pub suspect: Duration,
    /// Then it stops its tasks by itself.
    pub lease: Duration,
    /// Then they run elsewhere.
    pub reassign: Duration,
    /// For this long after a start nothing is declared lost.
    pub start_grace: Duration,
    /// How much longer runs are kept where half of all workers are silent at once.
    pub mass_loss_hold: Duration,
}

/// What becomes of running containers when their worker is stopped in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStop {
    /// They go on, and are taken up by the next start.
    #[default]
    Keep,
    /// The worker takes nothing new, and ends when they have ended.
    Finish,
    /// They are stopped, and run elsewhere. What may run once at most goes on.
    HandBack,
}

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// As `host:port`, in the order in which they are tried. At least one.
    pub masters: Vec<String>,
    /// Unique in its cluster.
    pub name: WorkerId,
    /// Its journal, logs and outputs are below this directory.
    pub data_dir: PathBuf,
    /// What it joins with, if it has not yet.
    pub join: Option<JoinFrom>,
    /// The engine's socket as `unix:///path`.
    pub docker_host: Option<String>,
    /// How long a registry that does not answer is asked again.
    pub registry_patience: Duration,
    /// When the pull of an image is given up.
    pub pull_limits: PullLimits,
    /// What becomes of what runs when the worker is stopped.
    pub on_stop: OnStop,
    /// What it offers, where that is not all there is.
    pub overrides: CapacityOverrides,
    /// Bytes of the engine's disk that stay free: else images that were pulled for tasks are removed.
    pub image_room: u64,
    /// How its GPUs are found.
    pub gpus: GpuSettings,
    /// What tasks can ask for.
    pub labels: BTreeMap<String, String>,
    /// Shown in lists; the host name if none.
    pub advertise: Option<String>,
    /// Where a master of the first generation reaches it; none: it dials `masters`.
    pub seed: Option<SocketAddr>,
}

/// What `cloudaid doctor` looks at.
#[derive(Debug, Clone)]
pub struct DoctorConfig {
    /// The worker's directory.
    pub data_dir: PathBuf,
    /// The engine's socket as `unix:///path`, or why what was given is none.
    pub docker_host: Result<String, String>,
    /// Bytes of the engine's disk that are to stay free.
    pub image_room: u64,
    /// How GPUs are found.
    pub gpus: GpuSettings,
}

/// Where the token is that lets a worker join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinFrom {
    /// In a file, read when it joins.
    File(PathBuf),
    /// Here.
    Inline(Secret),
}

/// What a worker offers, where that is not all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapacityOverrides {
    /// Thousandths of a core.
    pub cpu_millis: Option<u64>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// Bytes.
    pub storage_bytes: Option<u64>,
    /// Thousandths of a GPU.
    pub gpu_millis: Option<u64>,
}

/// How GPUs are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuSettings {
    /// NVIDIA's library; none: where the system has it.
    pub library: Option<PathBuf>,
    /// How long a GPU gets no work after an error that it reported.
    pub quarantine: Duration,
}

/// What `cloudaid dev` is started with.
#[derive(Debug, Clone)]
pub struct DevConfig {
    /// The master's half.
    pub master: MasterConfig,
    /// The worker's half. Its master and what it joins with are set once the master has started.
    pub worker: WorkerConfig,
    /// Where cloudctl keeps its contexts, if this person has a home directory.
    pub contexts_file: Option<PathBuf>,
}

/// How and what is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// For people or for machines.
    pub format: LogFormat,
    /// As `tracing-subscriber` reads it; known to be readable.
    pub filter: String,
}

/// Who may make an account for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Nobody: admins make them.
    Closed,
    /// Who has an invitation.
    Invite,
    /// Everybody.
    Open,
}

/// For whom log lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// People.
    Text,
    /// Machines: a JSON object per line.
    Json,
}

impl MasterConfig {
    /// What the log has to say if others can read along.
    #[must_use]
    pub fn plaintext_notice(&self) -> Option<String> {
        let http = (!self.tls.http && !parse::is_loopback(self.http.ip())).then(|| {
            format!(
                "Listening on {} without encryption: whoever can read that network can read passwords and tokens",
                self.http
            )
        });
        let workers = self.allow_plaintext_workers.then(|| {
            format!(
                "Workers of the first generation are served on {} without encryption: whoever can read that network can \
                 read what their tasks do, and whoever has the address of one of them can speak for it",
                self.grpc
            )
        });
        let notices: Vec<_> = http.into_iter().chain(workers).collect();
        (!notices.is_empty()).then(|| notices.join(". "))
    }
}

impl WorkerConfig {
    /// What the log has to say if others can reach what is not meant for them.
    #[must_use]
    pub fn plaintext_notice(&self) -> Option<String> {
        let listen = self.seed.filter(|listen| !parse::is_loopback(listen.ip()))?;
        Some(format!(
            "Listening on {listen} for a master of the first generation, without encryption or passwords: whoever can reach \
             it can run containers here"
        ))
    }
}
