//! `cloudaid store`: looks at a store, saves it, brings it back, and moves it to another kind.

use std::io;
use std::path::Path;

use crate::store::StoreError;
use crate::store::transfer::CopyError;

pub mod backup;
pub mod check;
pub mod copy;
pub mod restore;

mod bars;
mod open;
mod report;

pub use open::{Kind, Places};
pub use report::render;

/// Why a tool did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// A store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no copy.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Source and target are one.
    #[error("the source and the target are the same store")]
    Same,
    /// It would be lost.
    #[error("{path} is there already")]
    Exists {
        /// The file.
        path: String,
    },
    /// Something is still to be imported.
    #[error("the embedded store in {path} has commits that MongoDB has not got yet")]
    Unimported {
        /// Its directory.
        path: String,
    },
    /// There is nothing to restore.
    #[error("{path} is no backup: {why}")]
    NoBackup {
        /// What was given.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ToolError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), source }
    }

    /// The exit code of the process: 2 if it was asked for what cannot be (EX_USAGE of the shell), 75 if a store is in use
    /// (EX_TEMPFAIL), 70 if a store failed (EX_SOFTWARE), 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(StoreError::InUse { .. }) | Self::Copy(CopyError::Store(StoreError::InUse { .. })) => 75,
            Self::Copy(CopyError::Changed) => 75,
            Self::Store(_) | Self::Copy(CopyError::Store(_) | CopyError::Commit(_) | CopyError::Differs { .. }) => 70,
            Self::Same | Self::Exists { .. } | Self::NoBackup { .. } | Self::Unimported { .. } => 2,
            Self::Copy(_) | Self::Io { .. } => 1,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Store(error) | Self::Copy(CopyError::Store(error)) => of_store(error),
            Self::Copy(CopyError::Changed) => "stop the master, and run the same command again".to_owned(),
            Self::Copy(CopyError::Commit(_)) => {
                "see to the target (space, connection), and run the same command again: it goes on where it ended"
                    .to_owned()
            }
            Self::Copy(CopyError::EmptySource) => {
                "see that --data-dir or MONGODB_URI names the store that the master used".to_owned()
            }
            Self::Copy(CopyError::UnfinishedSource) => {
                "first run the command again that made it: it goes on where it ended".to_owned()
            }
            Self::Copy(CopyError::NotEmpty { .. }) => {
                "nothing was changed; give an empty data directory with --data-dir, or another database with MONGODB_URI"
                    .to_owned()
            }
            Self::Copy(CopyError::Differs { .. }) => {
                "the source was not changed; empty the target and run the same command again; if that does not help, \
                 `cloudaid store check` says what is wrong with the source"
                    .to_owned()
            }
            Self::Unimported { .. } => {
                "start the master with MongoDB once, which imports them; then stop it and run this again".to_owned()
            }
            Self::NoBackup { .. } => "give the file that `cloudaid store backup` wrote".to_owned(),
            Self::Same => "give two different kinds with --from and --to".to_owned(),
            Self::Exists { .. } => "give another name, or move the file away".to_owned(),
            Self::Io { .. } => "see that the directory exists, has room, and may be written to".to_owned(),
        }
    }
}

fn of_store(error: &StoreError) -> String {
    match error {
        StoreError::InUse { .. } => "stop the master first; `check` and `backup` work while it runs".to_owned(),
        StoreError::TooNew { .. } => {
            "nothing was changed; use the version of cloudaid that wrote it, or a newer one".to_owned()
        }
        StoreError::TooOld { .. } => {
            "nothing was changed; start this version of the master on it once, which brings it up to date".to_owned()
        }
        StoreError::Missing { .. } => {
            "see that --data-dir, or MONGODB_URI with --store mongodb, names the store of the master".to_owned()
        }
        StoreError::Unreachable(_) => "start MongoDB, or correct MONGODB_URI".to_owned(),
        StoreError::NotAllowed(_) | StoreError::Server(_) => {
            "see that MONGODB_URI names the right server, user and database".to_owned()
        }
        StoreError::Io { .. } => "nothing was changed; see that it is a directory that may be written to".to_owned(),
        _ => "the store was not changed; if it was damaged, restore a backup into an empty one".to_owned(),
    }
}
