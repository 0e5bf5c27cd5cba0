//! Every setting there is, one row each.
//!
//! The flags of the command line, the names in the file and in the environment, the defaults, `cloudaid config show` and
//! the help text all come from here, so none of them can know a setting that another does not.

use std::fmt;

use super::machine::Machine;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// The control plane.
    Master,
    /// Runs tasks.
    Worker,
    /// Both.
    Dev,
}

impl Role {
    /// The bit of this role in [`Setting::roles`].
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::Master => MASTER,
            Self::Worker => WORKER,
            Self::Dev => DEV,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Worker => "worker",
            Self::Dev => "dev",
        })
    }
}

/// Bit of [`Role::Master`].
pub const MASTER: u8 = 1;
/// Bit of [`Role::Worker`].
pub const WORKER: u8 = 2;
/// Bit of [`Role::Dev`].
pub const DEV: u8 = 4;
/// All roles.
pub const EVERY: u8 = MASTER | WORKER | DEV;

/// One row of the table.
#[derive(Debug)]
pub struct Setting {
    /// Its name, and its path in the configuration file.
    pub name: &'static str,
    /// Environment variable; also read from `.env`.
    pub env: &'static str,
    /// Long flag without the dashes; none for what is seldom changed or secret.
    pub flag: Option<&'static str>,
    /// How its value is written.
    pub shape: Shape,
    /// Who reads it: bits of [`Role`].
    pub roles: u8,
    /// What it is when nobody says.
    pub default: Fallback,
    /// What it is for, in words for a person.
    pub doc: &'static str,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value; its name in the help text.
    One(&'static str),
    /// Several with commas between them, or the flag several times.
    Many(&'static str),
    /// `true` or `false`; the bare flag means `true`.
    Switch,
    /// Never shown, and never taken from the command line or the configuration file, which others may read.
    Secret,
    /// Never shown either, but good only once and for a short while: it may stand on the command line.
    Token(&'static str),
}

/// What a setting is when nobody says.
#[derive(Debug, Clone, Copy)]
pub enum Fallback {
    /// Nothing.
    Unset,
    /// Always this.
    Text(&'static str),
    /// Depends on the machine or the role.
    Computed(fn(&Machine, Role) -> Option<String>),
    /// What another program's variable says, or else this.
    Borrowed(&'static str, &'static str),
}

impl Setting {
    /// Whether `role` reads it.
    #[must_use]
    pub fn is_for(&self, role: Role) -> bool {
        self.roles & role.bit() != 0
    }

    /// Whether it must not be shown.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self.shape, Shape::Secret | Shape::Token(_))
    }

    /// Whether the configuration file may hold it.
    #[must_use]
    pub fn in_file(&self) -> bool {
        !self.is_secret()
    }

    /// The role whose default stands in a list of everybody's settings.
    #[must_use]
    pub fn first_role(&self) -> Role {
        [Role::Master, Role::Worker].into_iter().find(|role| self.is_for(*role)).unwrap_or(Role::Dev)
    }
}

/// Name, variable, flag, shape, roles, default, purpose.
const fn row(
    name: &'static str,
    env: &'static str,
    flag: &'static str,
    shape: Shape,
    roles: u8,
    default: Fallback,
    doc: &'static str,
) -> Setting {
    let flag = if flag.is_empty() { None } else { Some(flag) };
    Setting { name, env, flag, shape, roles, default, doc }
}

macro_rules! settings {
    ($($id:ident: $row:expr;)*) => {
        $(#[doc = concat!("See [`Setting::doc`] of `", stringify!($id), "`.")] pub static $id: Setting = $row;)*
        /// All rows, in the order in which they are shown.
        pub static ALL: &[&Setting] = &[$(&$id),*];
    };
}

use Fallback::{Borrowed, Computed, Text, Unset};
use Shape::{Many, One, Secret, Switch, Token};

settings! {
    LOG_FORMAT: row("log.format", "CLOUDAI_LOG_FORMAT", "log-format", One("text|json"), EVERY, Text("text"),
        "How log lines are written to stderr: for people or for machines");
    LOG_LEVEL: row("log.level", "CLOUDAI_LOG", "log", One("FILTER"), EVERY, Text("info"),
        "What is logged: error, warn, info, debug, trace, or a filter such as `info,cloudaid::http=debug`");

    ACCESS_LOG: row("log.access", "CLOUDAI_LOG_ACCESS", "", Switch, MASTER | DEV,
        Computed(|_, role| Some((role == Role::Master).to_string())), "Log each request of the admin API");

    MASTER_DATA_DIR: row("master.data_dir", "CLOUDAI_DATA_DIR", "data-dir", One("DIR"), MASTER,
        Computed(|machine, _| machine.data_dir("master")), "Where the master keeps everything it knows");
    DEV_DATA_DIR: row("dev.data_dir", "CLOUDAI_DATA_DIR", "data-dir", One("DIR"), DEV,
        Computed(|machine, _| machine.data_dir("dev")), "Where master and worker keep their data, each in a directory of its own");
    HTTP: row("master.http", "CLOUDAI_HTTP", "http", One("ADDR"), MASTER | DEV, Text("127.0.0.1:8080"),
        "Where the admin API listens; port 0 takes any free one");
    GRPC: row("master.grpc", "CLOUDAI_GRPC", "grpc", One("ADDR"), MASTER | DEV, Text("127.0.0.1:50051"),
        "Where workers connect; port 0 takes any free one");
    PLAINTEXT: row("master.plaintext", "CLOUDAI_PLAINTEXT", "plaintext", Switch, MASTER | DEV, Text("false"),
        "Serve the admin API beyond this machine without encryption");
    TLS_CERTIFICATE: row("tls.certificate", "CLOUDAI_TLS_CERTIFICATE", "tls-cert", One("FILE"), MASTER | DEV, Unset,
        "Certificate chain in PEM to show to browsers and cloudctl, instead of one of the built-in authority; it may be replaced at any time");
    TLS_KEY: row("tls.key", "CLOUDAI_TLS_KEY", "tls-key", One("FILE"), MASTER | DEV, Unset,
        "Its private key in PEM");
    HOSTS: row("master.hosts", "CLOUDAI_HOSTS", "", Many("NAME"), MASTER | DEV, Unset,
        "Names under which browsers reach the admin API, besides addresses, `localhost` and this machine's own name");
    ORIGINS: row("master.origins", "CLOUDAI_ORIGINS", "", Many("ORIGIN"), MASTER | DEV, Unset,
        "Web sites whose pages may call the admin API, as `https://portal.example`");
    TLS_PROXY: row("master.tls_proxy", "CLOUDAI_TLS_PROXY", "", Switch, MASTER | DEV, Text("false"),
        "Browsers reach the admin API only through a proxy that speaks TLS: their cookies are never sent in the clear");
    PRINT_TASK_LOGS: row("master.print_task_logs", "CLOUDAI_PRINT_TASK_LOGS", "print-task-logs", Switch, MASTER | DEV,
        Computed(|_, role| Some((role == Role::Dev).to_string())), "Log the last 20 lines of each task that ends");

    WORKER_CERTIFICATE_TTL: row("workers.certificate_ttl", "CLOUDAI_WORKERS_CERTIFICATE_TTL", "", One("TIME"), MASTER | DEV,
        Text("24h"), "How long the certificate of a worker is good; it is renewed after two thirds of that");
    ALLOW_PLAINTEXT_WORKERS: row("workers.allow_plaintext", "CLOUDAI_ALLOW_PLAINTEXT_WORKERS", "allow-plaintext-workers",
        Switch, MASTER | DEV, Text("false"),
        "Serve workers of the first generation, which speak in plaintext and are known by their addresses only");
    ADMISSION: row("workers.admission", "CLOUDAI_ADMISSION", "admission", One("approve|open"), MASTER | DEV, Text("approve"),
        "What becomes of a worker of the first generation that nobody has registered: it waits for approval, or is let in at once");

    HEARTBEAT: row("leases.heartbeat", "CLOUDAI_LEASES_HEARTBEAT", "", One("TIME"), MASTER | DEV, Text("5s"),
        "How often a worker reports");
    SUSPECT: row("leases.suspect", "CLOUDAI_LEASES_SUSPECT", "", One("TIME"), MASTER | DEV, Text("15s"),
        "After this silence a worker gets no new tasks");
    LEASE: row("leases.lease", "CLOUDAI_LEASES_LEASE", "", One("TIME"), MASTER | DEV, Text("30s"),
        "After this silence a worker stops its tasks by itself");
    REASSIGN: row("leases.reassign", "CLOUDAI_LEASES_REASSIGN", "", One("TIME"), MASTER | DEV, Text("45s"),
        "After this silence the tasks of a worker run elsewhere");
    START_GRACE: row("leases.start_grace", "CLOUDAI_LEASES_START_GRACE", "", One("TIME"), MASTER | DEV, Text("60s"),
        "For this long after a start of the master no worker is declared lost");
    MASS_LOSS_HOLD: row("leases.mass_loss_hold", "CLOUDAI_LEASES_MASS_LOSS_HOLD", "", One("TIME"), MASTER | DEV, Text("10m"),
        "How much longer tasks are kept where at least half of three or more workers are silent at once");
    INFRASTRUCTURE_ATTEMPTS: row("limits.infrastructure_attempts", "CLOUDAI_LIMITS_INFRASTRUCTURE_ATTEMPTS", "",
        One("1..100"), MASTER | DEV, Text("3"),
        "How often a task is tried when it fails through no fault of its own");

    TASK_PROFILE: row("tasks.profile", "CLOUDAI_TASKS_PROFILE", "", One("standard|strict"), MASTER | DEV, Text("standard"),
        "How containers are set up at the least: a task may ask for the stricter one only");
    STRICT_USERS: row("tasks.strict_users", "CLOUDAI_TASKS_STRICT_USERS", "", Many("USER"), MASTER | DEV, Unset,
        "Whose containers are strict in any case, whatever the others' are");
    STRICT_POOLS: row("tasks.strict_pools", "CLOUDAI_TASKS_STRICT_POOLS", "", Many("POOL"), MASTER | DEV, Unset,
        "On whose workers containers are strict in any case: pools, as join tokens give them");
    STRICT_NETWORK: row("tasks.strict_network", "CLOUDAI_TASKS_STRICT_NETWORK", "", One("none|public"), MASTER | DEV, Text("none"),
        "What strict tasks may reach: nothing, or the Internet but no private address");
    IMAGES_ALLOWED: row("images.allowed", "CLOUDAI_IMAGES_ALLOWED", "", Many("PATTERN"), MASTER | DEV, Unset,
        "Images that tasks may have, if not all: REGISTRY or REGISTRY/REPOSITORY, as `docker.io/library/*`, `ghcr.io/acme/*`");
    IMAGES_REQUIRE_DIGEST: row("images.require_digest", "CLOUDAI_IMAGES_REQUIRE_DIGEST", "", Switch, MASTER | DEV, Text("false"),
        "Accept only tasks that name their image by its digest");

    USER_BYTES: row("limits.user_bytes", "CLOUDAI_LIMITS_USER_BYTES", "", One("SIZE"), MASTER | DEV, Text("100GiB"),
        "How much the files of a user may take, outputs and inputs together: GiB or with a unit; admins may have more");
    USER_FILES: row("limits.user_files", "CLOUDAI_LIMITS_USER_FILES", "", One("COUNT"), MASTER | DEV, Text("1000000"),
        "How many files a user may have; admins may have more");

    STORE: row("store", "CLOUDAI_STORE", "store", One("sqlite|mongodb"), MASTER | DEV, Text("sqlite"),
        "Where all facts are kept: in the data directory, or in MongoDB");
    MONGODB_URI: row("mongodb.uri", "MONGODB_URI", "", Secret, MASTER | DEV, Unset,
        "The MongoDB, as `mongodb://USER:PASSWORD@HOST:27017/cloudai`; options for its pool, TLS and timeouts count");
    MONGODB_HOST: row("mongodb.host", "CLOUDAI_MONGODB_HOST", "", One("HOST:PORT"), MASTER | DEV, Text("localhost:27017"),
        "Where MongoDB is, if there is no URI");
    MONGODB_USERNAME: row("mongodb.username", "MONGODB_USERNAME", "", Secret, MASTER | DEV, Unset,
        "Who the master is to MongoDB, if there is no URI");
    MONGODB_PASSWORD: row("mongodb.password", "MONGODB_PASSWORD", "", Secret, MASTER | DEV, Unset,
        "What proves it");
    MONGODB_DATABASE: row("mongodb.database", "CLOUDAI_MONGODB_DATABASE", "", One("NAME"), MASTER | DEV, Text("cloudai"),
        "The database, if the URI names none");
    MONGODB_REQUIRED: row("mongodb.required", "CLOUDAI_MONGODB_REQUIRED", "", Switch, MASTER | DEV, Text("false"),
        "Whether the master rather does not start than start without MongoDB, on the store in its data directory");

    FILES_STORE: row("files.store", "CLOUDAI_FILES_STORE", "", One("local|s3"), MASTER | DEV, Text("local"),
        "Where files are kept: in the data directory, or in a bucket that speaks S3");
    S3_BUCKET: row("files.s3_bucket", "CLOUDAI_FILES_S3_BUCKET", "", One("NAME"), MASTER | DEV, Unset,
        "The bucket");
    S3_PREFIX: row("files.s3_prefix", "CLOUDAI_FILES_S3_PREFIX", "", One("PATH"), MASTER | DEV, Unset,
        "Where in the bucket, if it is shared with others; two masters never share a place");
    S3_ENDPOINT: row("files.s3_endpoint", "CLOUDAI_FILES_S3_ENDPOINT", "", One("URL"), MASTER | DEV, Unset,
        "Where the bucket is, if not at Amazon, as `https://minio.example:9000`");
    S3_REGION: row("files.s3_region", "CLOUDAI_FILES_S3_REGION", "", One("NAME"), MASTER | DEV, Text("us-east-1"),
        "The bucket's region");
    S3_KEY_ID: row("files.s3_access_key_id", "AWS_ACCESS_KEY_ID", "", Secret, MASTER | DEV, Unset,
        "Who the master is to the bucket; if unset, what its machine may do by itself");
    S3_KEY: row("files.s3_secret_access_key", "AWS_SECRET_ACCESS_KEY", "", Secret, MASTER | DEV, Unset,
        "What proves it");
    S3_SESSION: row("files.s3_session_token", "AWS_SESSION_TOKEN", "", Secret, MASTER | DEV, Unset,
        "What belongs to both, where they are for a while only");
    RETENTION: row("files.retention", "CLOUDAI_FILES_RETENTION", "", One("TIME|never"), MASTER | DEV, Text("never"),
        "How long the output files of a task stay after its end");
    INPUT_RETENTION: row("files.input_retention", "CLOUDAI_FILES_INPUT_RETENTION", "", One("TIME|never"), MASTER | DEV,
        Text("7d"), "How long uploaded files stay that no task reads");

    LOGS_KEEP: row("task_logs.keep", "CLOUDAI_TASK_LOGS_KEEP", "", One("SIZE|all"), MASTER | DEV, Text("1GiB"),
        "How much of what a run writes to its log is kept: a quarter of it from the beginning, the rest from the end");
    LOGS_TOTAL: row("task_logs.total", "CLOUDAI_TASK_LOGS_TOTAL", "", One("SIZE|all"), MASTER | DEV, Text("all"),
        "How much of all logs together: those that were written first go first");
    LOGS_RETENTION: row("task_logs.retention", "CLOUDAI_TASK_LOGS_RETENTION", "", One("TIME|never"), MASTER | DEV,
        Text("never"), "How long the log of a task stays after its end");
    LOGS_FAILED_RETENTION: row("task_logs.failed_retention", "CLOUDAI_TASK_LOGS_FAILED_RETENTION", "", One("TIME|never"),
        MASTER | DEV, Unset, "The same of a task that failed; if unset, no different");

    JWT_SECRET: row("auth.jwt_secret", "JWT_SECRET", "", Secret, MASTER | DEV, Unset,
        "Signs logins; if unset the master makes one and keeps it in its data directory");
    PREVIOUS_JWT_SECRET: row("auth.previous_jwt_secret", "JWT_SECRET_PREVIOUS", "", Secret, MASTER | DEV, Unset,
        "What JWT_SECRET was before: what it has signed stays good");
    TOKEN_TTL: row("auth.token_ttl", "CLOUDAI_AUTH_TOKEN_TTL", "", One("TIME"), MASTER | DEV, Text("15m"),
        "How long a token lets in before it must be renewed");
    REGISTRATION: row("auth.registration", "CLOUDAI_AUTH_REGISTRATION", "", One("POLICY"), MASTER | DEV,
        Computed(|_, role| Some(if role == Role::Dev { "open" } else { "invite" }.to_owned())),
        "Who may make an account for themselves: nobody (closed), who was invited (invite), everybody (open)");
    PASSWORD_LENGTH: row("auth.min_password_length", "CLOUDAI_AUTH_MIN_PASSWORD_LENGTH", "", One("N"), MASTER | DEV,
        Text("12"), "How many characters a new password has at least; what is guessed first is refused at any length");

    WORKER_MASTER: row("worker.master", "CLOUDAI_MASTER", "master", Many("HOST:PORT"), WORKER, Text("127.0.0.1:50051"),
        "The master to work for; of several addresses the first is tried first");
    WORKER_NAME: row("worker.name", "CLOUDAI_NAME", "name", One("NAME"), WORKER | DEV,
        Computed(Machine::worker_name), "The worker's name, unique in its cluster");
    WORKER_DATA_DIR: row("worker.data_dir", "CLOUDAI_DATA_DIR", "data-dir", One("DIR"), WORKER,
        Computed(|machine, _| machine.data_dir("worker")), "Where the worker keeps its journal, logs and outputs until the master has them");
    JOIN: row("worker.join", "CLOUDAI_JOIN", "join", Token("TOKEN"), WORKER, Unset,
        "What lets the worker join a cluster, from `cloudctl worker-token create`; not needed any more once it has joined");
    JOIN_FILE: row("worker.join_file", "CLOUDAI_JOIN_FILE", "join-file", One("FILE"), WORKER, Unset,
        "A file with that token");
    WORKER_PROTOCOL: row("worker.protocol", "CLOUDAI_WORKER_PROTOCOL", "protocol", One("session|seed"), WORKER,
        Text("session"), "How the worker talks with its master: it dials it (session), or waits for a master of the first generation (seed)");
    WORKER_LISTEN: row("worker.listen", "CLOUDAI_WORKER_LISTEN", "listen", One("ADDR"), WORKER, Text("0.0.0.0:50052"),
        "Where a master of the first generation reaches the worker, with `seed`");
    DOCKER_HOST: row("worker.docker_host", "CLOUDAI_DOCKER_HOST", "docker-host", One("URL"), WORKER | DEV,
        Borrowed("DOCKER_HOST", "unix:///var/run/docker.sock"), "The socket of the container engine");
    REGISTRY_PATIENCE: row("worker.registry_patience", "CLOUDAI_REGISTRY_PATIENCE", "", One("TIME"), WORKER | DEV, Text("5m"),
        "How long an image registry that does not answer, or limits its rate, is asked again before a task fails");
    PULL_STALL_LIMIT: row("worker.pull_stall_limit", "CLOUDAI_PULL_STALL_LIMIT", "", One("TIME"), WORKER | DEV, Text("5m"),
        "How long the pull of an image may get no further at all before it is given up, and tried again");
    PULL_TIME_LIMIT: row("worker.pull_time_limit", "CLOUDAI_PULL_TIME_LIMIT", "", One("TIME"), WORKER | DEV, Text("4h"),
        "How long the pull of an image may take in all");
    ON_STOP: row("worker.on_stop", "CLOUDAI_ON_STOP", "on-stop", One("keep|finish|hand-back"), WORKER, Text("keep"),
        "What becomes of running containers when the worker is stopped: they go on (keep), it waits for their ends (finish), or they are stopped and run elsewhere (hand-back)");
    CPU: row("worker.cpu", "CLOUDAI_CPU", "cpu", One("CORES"), WORKER | DEV, Unset,
        "Cores to offer, if not all: `4`, `2.5`, `500m`");
    MEMORY: row("worker.memory", "CLOUDAI_MEMORY", "memory", One("SIZE"), WORKER | DEV, Unset,
        "Memory to offer, if not all: GiB or with a unit, `8`, `512MiB`");
    STORAGE: row("worker.storage", "CLOUDAI_STORAGE", "storage", One("SIZE"), WORKER | DEV, Unset,
        "Disk to offer, if not all: GiB or with a unit");
    GPU: row("worker.gpu", "CLOUDAI_GPU", "gpu", One("GPUS"), WORKER | DEV, Unset,
        "GPUs to offer, if not all: `1`, `0.5`");
    IMAGE_ROOM: row("worker.image_room", "CLOUDAI_IMAGE_ROOM", "", One("SIZE"), WORKER | DEV, Text("2GiB"),
        "Disk of the container engine that stays free: where less is, images that tasks have pulled are removed, those first that were used longest ago");
    NVML: row("worker.nvml", "CLOUDAI_NVML", "", One("FILE"), WORKER | DEV, Unset,
        "NVIDIA's library `libnvidia-ml.so.1`, where the system does not find it by itself");
    GPU_QUARANTINE: row("worker.gpu_quarantine", "CLOUDAI_GPU_QUARANTINE", "", One("TIME"), WORKER | DEV, Text("10m"),
        "How long a GPU gets no work after an error that it reported");
    LABELS: row("worker.labels", "CLOUDAI_LABELS", "label", Many("NAME=VALUE"), WORKER | DEV, Unset,
        "Labels of the worker, which tasks can ask for");
    ADVERTISE: row("worker.advertise", "CLOUDAI_ADVERTISE", "advertise", One("ADDR"), WORKER | DEV, Unset,
        "The address shown in lists of workers; nothing is dialled by it");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn within_a_role_no_name_variable_or_flag_stands_for_two_settings() {
        for role in [Role::Master, Role::Worker, Role::Dev] {
            let rows: Vec<_> = ALL.iter().filter(|row| row.is_for(role)).collect();
            let names: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
            let variables: BTreeSet<_> = rows.iter().map(|row| row.env).collect();
            let flags: Vec<_> = rows.iter().filter_map(|row| row.flag).collect();
            assert_eq!((names.len(), variables.len()), (rows.len(), rows.len()), "{role}");
            assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len(), "{role}");
        }
    }

    #[test]
    fn every_row_can_be_explained_and_secrets_are_on_no_command_line() {
        for row in ALL {
            assert!(row.roles != 0 && !row.doc.is_empty() && !row.doc.ends_with('.'), "{}", row.name);
            let of_others = ["JWT_SECRET", "AWS_", "MONGODB_"].iter().any(|prefix| row.env.starts_with(prefix));
            assert!(row.env.starts_with("CLOUDAI_") || of_others && row.is_secret(), "{}", row.env);
            assert!(row.shape != Shape::Secret || row.flag.is_none(), "{}", row.name);
        }
    }
}
