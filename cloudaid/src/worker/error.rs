//! Why a worker stops, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use shared::id::{ClusterId, WorkerId};

/// Why a worker cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The data directory, or something in it, cannot be read or written.
    #[error("{path}: {source}")]
    Data {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has the data directory.
    #[error("the data directory {path} is in use by another worker")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// What is in the data directory cannot be read by this version.
    #[error("{path} was not written by this version of cloudaid: {problem}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The data directory is that of another worker.
    #[error("the data directory {path} belongs to worker {owner}, not to {name}")]
    OtherWorker {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: WorkerId,
        /// Who wants it.
        name: WorkerId,
    },
    /// The master is of another cluster than the data directory.
    #[error("the master at {master} is of cluster {theirs}; this worker belongs to cluster {ours}")]
    OtherCluster {
        /// Where the master is.
        master: String,
        /// The cluster of the data directory.
        ours: ClusterId,
        /// The cluster of the master.
        theirs: ClusterId,
    },
    /// The data directory is that of a worker which speaks the other protocol.
    #[error("the data directory {path} belongs to a worker of cluster {cluster}, which does not speak --protocol seed")]
    OtherProtocol {
        /// The directory.
        path: PathBuf,
        /// The cluster of the data directory.
        cluster: ClusterId,
    },
    /// The address where the master is to reach the worker cannot be listened on.
    #[error("cannot listen on {address} for the master: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The engine's address cannot be one.
    #[error("{0}")]
    Engine(String),
    /// The library that was named cannot be used.
    #[error("GPUs cannot be found: {0}")]
    Gpus(String),
    /// It has never joined, and has nothing to join with.
    #[error("this worker has not joined a cluster yet, and was given no token to do it with")]
    NoToken,
    /// The token is for another cluster, or somebody stands in between.
    #[error("what answers at {master} does not have the certificate that the join token is for")]
    OtherAuthority {
        /// Where the master is.
        master: String,
    },
    /// What a master has given, or what is kept of it, cannot be used.
    #[error("the certificate cannot be used: {problem}")]
    Credentials {
        /// What is wrong with it.
        problem: String,
    },
    /// The join token cannot be used.
    #[error("the join token of {source_name}: {problem}")]
    Token {
        /// Where it is from.
        source_name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The master's address cannot be one.
    #[error("`{address}` is not the address of a master: {problem}")]
    Address {
        /// As given.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The master does not take this worker.
    #[error("the master at {master} refused this worker: {message}")]
    Refused {
        /// Where the master is.
        master: String,
        /// What it said.
        message: String,
    },
    /// The master is older than this worker.
    #[error("the master at {master} is older than this worker: it is of {theirs}, and this is {ours}")]
    OlderMaster {
        /// Where the master is.
        master: String,
        /// Its version and protocol.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// The master does not serve workers of this version.
    #[error("the master at {master} does not serve this version: {message}")]
    NotServed {
        /// Where the master is.
        master: String,
        /// What it said.
        message: String,
    },
}

impl WorkerError {
    /// The exit code of the process, from the same list as that of cloudctl.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Data { .. } | Self::Unreadable { .. } | Self::Credentials { .. } | Self::Listen { .. } => 1,
            Self::Engine(_) | Self::Gpus(_) | Self::NoToken | Self::Token { .. } | Self::Address { .. } => 2,
            Self::Refused { .. } | Self::OtherAuthority { .. } => 4,
            Self::InUse { .. }
            | Self::OtherWorker { .. }
            | Self::OtherCluster { .. }
            | Self::OtherProtocol { .. }
            | Self::OlderMaster { .. }
            | Self::NotServed { .. } => 6,
        }
    }

    /// Whether it passes without anybody doing something about this worker in particular: where many are updated one after
    /// the other, the master may be next. Until then containers go on.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::OlderMaster { .. } | Self::NotServed { .. })
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Data { .. } => "check that the disk is there, has room and may be written by this user".to_owned(),
            Self::InUse { .. } => {
                "stop the other worker first, or give this one a directory of its own with --data-dir".to_owned()
            }
            Self::Unreadable { .. } => "start the version of cloudaid that wrote it, or give a new --data-dir \
                                        (containers that still run are found by their labels)"
                .to_owned(),
            Self::OtherWorker { owner, .. } => {
                format!("start it with --name {owner}, or give this worker a directory of its own with --data-dir")
            }
            Self::OtherCluster { .. } => {
                "check --master, or give this worker a new directory for that cluster with --data-dir".to_owned()
            }
            Self::OtherProtocol { .. } => {
                "start it without --protocol seed, or give this worker a directory of its own with --data-dir"
                    .to_owned()
            }
            Self::Engine(_) => "give --docker-host as unix:///PATH of the engine's socket, or unset DOCKER_HOST".to_owned(),
            Self::Gpus(_) => {
                "check CLOUDAI_NVML and that `nvidia-smi` works here; leave it out, or give --gpu 0, to go on without GPUs"
                    .to_owned()
            }
            Self::Listen { .. } => "choose another address with --listen, or stop who has it".to_owned(),
            Self::NoToken | Self::Token { .. } => {
                "make one at the master with `cloudctl worker-token create`, and give it as --join TOKEN".to_owned()
            }
            Self::OtherAuthority { .. } => "the token belongs to another cluster, or --master is not its master; copy the token \
                                             whole, as `cloudctl worker-token create` of this master shows it"
                .to_owned(),
            Self::Credentials { .. } => {
                "give a new --data-dir and a new --join TOKEN, from `cloudctl worker-token create --name NAME`".to_owned()
            }
            Self::Address { .. } => "give --master as HOST:PORT of the master's gRPC address".to_owned(),
            Self::Refused { .. } => {
                "if it should belong to this cluster: `cloudctl worker-token create`, then start it with a new --data-dir \
                 and --join TOKEN"
                    .to_owned()
            }
            Self::OlderMaster { .. } => "update the master first: a worker may be one minor version older than its master, and \
                                         not newer; containers go on, and the worker connects when that is done"
                .to_owned(),
            Self::NotServed { .. } => "containers go on, and the worker connects when that is done".to_owned(),
        }
    }
}
