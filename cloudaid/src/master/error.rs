//! Why a master stops, and what to do about it.

use std::net::SocketAddr;

use cloudaid_core::recover::RecoverError;
use shared::error::ApiError;

use super::auth::SecretError;
use super::driver::DriverError;
use crate::grpc::GrpcError;
use crate::store::{CommitError, StoreError};
use crate::tls::server::TlsError;

/// Why a master does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The first commit of this start failed.
    #[error("the store does not take a commit")]
    Commit(#[from] CommitError),
    /// What the store holds contradicts itself.
    #[error("the store contradicts itself")]
    Recover(#[from] RecoverError),
    /// Another store was copied into it, but not to the end.
    #[error("the store is a copy that was not finished")]
    UnfinishedCopy,
    /// MongoDB cannot be reached, and the embedded store has never had all that is there.
    #[error("MongoDB cannot be reached, and the embedded store beside it has not been filled yet")]
    UnfinishedFallback,
    /// The driver had to stop.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A secret cannot be made or used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// `HTTP` or `gRPC`.
        purpose: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A directory or file cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bucket for files cannot be used.
    #[error("the bucket {bucket} cannot be used: {source}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// What it said.
        source: std::io::Error,
    },
    /// The gRPC server failed.
    #[error(transparent)]
    Grpc(#[from] GrpcError),
    /// There is nothing to encrypt with.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The first account of `dev` cannot be made.
    #[error("the first account cannot be made: {0}")]
    Account(ApiError),
}

impl MasterError {
    /// The exit code of the process: 75 if the data directory is in use (EX_TEMPFAIL), 70 if the store failed
    /// (EX_SOFTWARE), 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(StoreError::InUse { .. }) => 75,
            Self::Store(_)
            | Self::Commit(_)
            | Self::Recover(_)
            | Self::UnfinishedCopy
            | Self::UnfinishedFallback
            | Self::Driver(_) => 70,
            Self::Secret(_)
            | Self::Listen { .. }
            | Self::Io { .. }
            | Self::Bucket { .. }
            | Self::Grpc(_)
            | Self::Tls(_)
            | Self::Account(_) => 1,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Store(StoreError::InUse { .. }) => {
                "stop the other process, or give this one a directory of its own with --data-dir".to_owned()
            }
            Self::Store(StoreError::TooNew { .. }) => {
                "nothing was changed; install the version that wrote it, or a newer one".to_owned()
            }
            Self::Store(StoreError::Unreachable(_)) => {
                "start MongoDB, or correct MONGODB_URI (the host, `tls=`, `authSource=`); without mongodb.required = true the master starts on the \
                 embedded store meanwhile"
                    .to_owned()
            }
            Self::Store(StoreError::OtherCluster { .. }) => {
                "nothing was changed; correct MONGODB_URI; or bring the facts there with `cloudaid store copy --from sqlite \
                 --to mongodb` or `cloudaid store restore`; or give another data directory with --data-dir"
                    .to_owned()
            }
            Self::Store(StoreError::Diverged { path, .. }) => format!(
                "nothing was changed; look at it with `cloudaid store check --store sqlite --data-dir {path}`; to drop what \
                 it has, move the directory away; to run on it alone, give it as the data directory with --store sqlite"
            ),
            Self::Store(StoreError::NotAllowed(_) | StoreError::Server(_)) => {
                "nothing was changed; see that MONGODB_URI names the right server, user and database".to_owned()
            }
            Self::Store(_) | Self::Recover(_) => {
                "nothing was changed; restore a backup with `cloudaid store restore`, or give another data directory \
                 with --data-dir"
                    .to_owned()
            }
            Self::Driver(DriverError::Fenced(_)) | Self::Commit(CommitError::Fenced { .. }) => {
                "only one master may run on a store: stop one of them".to_owned()
            }
            Self::UnfinishedFallback => {
                "start MongoDB: the facts of this data directory are there".to_owned()
            }
            Self::UnfinishedCopy => {
                "run the same `cloudaid store copy` or `cloudaid store restore` again: it goes on where it ended"
                    .to_owned()
            }
            Self::Commit(_) | Self::Driver(_) => {
                "look at the disk of the store (space, errors), then start again: nothing acknowledged is lost"
                    .to_owned()
            }
            Self::Listen { purpose: "HTTP", .. } => "choose another address with --http, or stop who has it".to_owned(),
            Self::Listen { .. } => "choose another address with --grpc, or stop who has it".to_owned(),
            Self::Secret(_) => {
                "give another secret, or remove the file: a new one is made at the next start".to_owned()
            }
            Self::Io { .. } => "see that the directory exists and belongs to the user who runs cloudaid".to_owned(),
            Self::Bucket { .. } => {
                "see that it exists, and that files.s3_endpoint, files.s3_region and the AWS_ keys are right".to_owned()
            }
            Self::Tls(TlsError::Own(_)) => {
                "give a certificate chain in PEM as tls.certificate and its private key as tls.key".to_owned()
            }
            Self::Tls(_) => {
                "see that `tls` in the data directory belongs to the user who runs cloudaid and holds what was written \
                 there; without it all workers have to join anew"
                    .to_owned()
            }
            Self::Grpc(_) | Self::Account(_) => "the log above says more".to_owned(),
        }
    }
}
