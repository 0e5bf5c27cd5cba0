//! How much of the journal is still needed: of each run that is not forgotten the last record of each kind.

use std::collections::BTreeMap;

use cloudaid_core::agent::JournalRecord;
use shared::id::AttemptKey;

/// Accepted or adopted, starting, stopping, exited, finished.
const KINDS: usize = 5;

/// Bytes of records, as they are written anew.
#[derive(Debug, Default)]
pub(super) struct Weights {
    runs: BTreeMap<AttemptKey, [usize; KINDS]>,
    total: usize,
}

impl Weights {
    /// Takes in the next record, which takes so many bytes in the file.
    pub(super) fn add(&mut self, record: &JournalRecord, bytes: usize) {
        let kind = match record {
            JournalRecord::Accepted(_) | JournalRecord::Adopted(_) => 0,
            JournalRecord::Starting { .. } => 1,
            JournalRecord::Stopping { .. } => 2,
            JournalRecord::Exited { .. } => 3,
            JournalRecord::Finished { .. } => 4,
            JournalRecord::Forgotten(key) => {
                let kinds = self.runs.remove(key).unwrap_or_default();
                self.total -= kinds.iter().sum::<usize>();
                return;
            }
        };
        let kinds = self.runs.entry(record.key()).or_default();
        self.total = self.total - kinds[kind] + bytes;
        kinds[kind] = bytes;
    }

    /// Bytes of all that is needed.
    pub(super) fn total(&self) -> usize {
        self.total
    }
}
