//! What a store holds, in numbers, and a digest by which two stores can be compared.

use cloudaid_core::record::Change;
use serde::Serialize;

use crate::store::walk::{Place, Walk};
use crate::store::{Store, StoreError};

/// How much a store holds of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Submissions.
    pub tasks: u64,
    /// Runs of their elements.
    pub attempts: u64,
    /// Ends of their elements.
    pub results: u64,
    /// Output files.
    pub files: u64,
    /// Inputs.
    pub inputs: u64,
    /// Their files.
    pub input_files: u64,
    /// Accounts.
    pub users: u64,
    /// Personal tokens.
    pub tokens: u64,
    /// Logins.
    pub logins: u64,
    /// Workers, and those that wait to be let in.
    pub workers: u64,
    /// Tokens for workers.
    pub join_tokens: u64,
    /// Entries of the audit log.
    pub audit_entries: u64,
    /// What else there is.
    pub others: u64,
}

impl Counts {
    /// Each with its name, in the order in which they are shown.
    #[must_use]
    pub fn list(&self) -> [(&'static str, u64); 13] {
        [
            ("tasks", self.tasks),
            ("attempts", self.attempts),
            ("results", self.results),
            ("files", self.files),
            ("inputs", self.inputs),
            ("input files", self.input_files),
            ("users", self.users),
            ("tokens", self.tokens),
            ("logins", self.logins),
            ("workers", self.workers),
            ("join tokens", self.join_tokens),
            ("audit entries", self.audit_entries),
            ("others", self.others),
        ]
    }

    fn of(&mut self, change: &Change) -> Option<&mut u64> {
        Some(match change {
            Change::NewTask(_) => &mut self.tasks,
            Change::Attempt(_) => &mut self.attempts,
            Change::Result(_) => &mut self.results,
            Change::Files(..) => &mut self.files,
            Change::Input(_) => &mut self.inputs,
            Change::InputFiles(..) => &mut self.input_files,
            Change::User(_) => &mut self.users,
            Change::Token(..) => &mut self.tokens,
            Change::Login(..) => &mut self.logins,
            Change::Worker(..) | Change::Pending(..) => &mut self.workers,
            Change::JoinToken(..) => &mut self.join_tokens,
            Change::Audit(_) => &mut self.audit_entries,
            Change::Guess(..) | Change::Left(_) | Change::FileUsage(..) | Change::Registry(..) => &mut self.others,
            // Part of a submission, or of no walk.
            Change::Progress(..)
            | Change::Totals(_)
            | Change::Cluster(_)
            | Change::Spec(..)
            | Change::Gone(_)
            | Change::FilesGone(_)
            | Change::RunFilesGone(..)
            | Change::FilesAdded(..)
            | Change::Upload(..)
            | Change::InputGone(_)
            | Change::Swept(_) => return None,
        })
    }
}

/// What a store holds: two that have the same hold the same, but for the cluster's own facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Of each kind how much.
    pub counts: Counts,
    /// BLAKE3 of all changes of a walk as JSON, a line each. It does not depend on the kind of store.
    pub digest: String,
}

/// A summary as it grows.
#[derive(Debug, Default)]
pub struct Summing {
    counts: Counts,
    hasher: blake3::Hasher,
    line: Vec<u8>,
}

impl Summing {
    /// Takes the next change of a walk.
    pub fn add(&mut self, change: &Change) -> Result<(), StoreError> {
        if let Some(count) = self.counts.of(change) {
            *count += super::dump::rows(change) as u64;
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, change).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.line.push(b'\n');
        self.hasher.update(&self.line);
        Ok(())
    }

    /// What it has come to.
    #[must_use]
    pub fn finish(self) -> Summary {
        Summary { counts: self.counts, digest: self.hasher.finalize().to_hex().to_string() }
    }
}

/// Walks over a store and says what it holds. `look` sees each page.
pub async fn summarize(store: &dyn Store, look: &mut (dyn FnMut(Place) + Send)) -> Result<Summary, StoreError> {
    let mut summing = Summing::default();
    let mut walk = Walk::new(store, store.load().await?.0);
    while let Some((changes, place)) = walk.next().await? {
        changes.iter().try_for_each(|change| summing.add(change))?;
        look(place);
    }
    Ok(summing.finish())
}
