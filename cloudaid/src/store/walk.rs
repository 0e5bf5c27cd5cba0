//! Everything that a store holds, as changes in one order: the same for each store that holds the same.
//!
//! Accounts, what people and workers prove themselves with, inputs, what is left to be removed, the audit log,
//! submissions, and at the end what no record shows. Not the cluster's own facts, which differ between a store and its
//! copy until the copy is finished.

use std::collections::VecDeque;

use cloudaid_core::record::{Change, Snapshot, Totals};
use shared::id::InputId;

use crate::store::{AuditPage, AuditQuery, DumpCursor, Store, StoreError};

/// Rows of a page, about: enough that each is cheap, and few enough that a commit of it is quick.
pub const PAGE: usize = 4000;

/// What a walk comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All but what follows.
    Records,
    /// The audit log.
    Audit,
    /// Submissions.
    Tasks,
    /// The totals.
    Totals,
}

/// How far a walk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In which part.
    pub part: Part,
    /// The sequence of the last entry or submission; elsewhere 0.
    pub done: u64,
    /// The last sequence that there is; elsewhere 0.
    pub of: u64,
}

/// A walk over a store.
#[derive(Debug)]
pub struct Walk<'a> {
    store: &'a dyn Store,
    next: Next,
    inputs: VecDeque<InputId>,
    records: VecDeque<Change>,
    audit_end: u64,
    last_sequence: u64,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    Records { audit: u64, tasks: DumpCursor },
    Audit { after: u64, tasks: DumpCursor },
    Tasks(DumpCursor),
    Totals,
    End,
}

impl<'a> Walk<'a> {
    /// From the beginning. The snapshot is what the store has just loaded.
    #[must_use]
    pub fn new(store: &'a dyn Store, snapshot: Snapshot) -> Self {
        Self::from(store, snapshot, 0, DumpCursor::default())
    }

    /// Without the entries of the audit log up to `audit`, and the submissions before `tasks`.
    #[must_use]
    pub fn from(store: &'a dyn Store, snapshot: Snapshot, audit: u64, tasks: DumpCursor) -> Self {
        let (audit_end, last_sequence) = (snapshot.audit.sequence, snapshot.last_sequence);
        let mut inputs: VecDeque<_> = snapshot.inputs.iter().map(|input| input.id).collect();
        inputs.make_contiguous().sort_unstable();
        let records = records(snapshot).into();
        Self { store, next: Next::Records { audit, tasks }, inputs, records, audit_end, last_sequence }
    }

    /// The next changes, a page of them; none: that was all.
    pub async fn next(&mut self) -> Result<Option<(Vec<Change>, Place)>, StoreError> {
        loop {
            let (changes, place) = match self.next {
                Next::Records { audit, tasks } => {
                    let changes = self.records_page().await?;
                    if changes.is_empty() {
                        self.next = Next::Audit { after: audit, tasks };
                    }
                    (changes, Place { part: Part::Records, done: 0, of: 0 })
                }
                Next::Audit { after, tasks } => {
                    let query = AuditQuery { page: AuditPage::After(after), user: None, since: None, limit: PAGE };
                    let (entries, next) = self.store.list_audit(query).await?;
                    self.next = next.map_or(Next::Tasks(tasks), |after| Next::Audit { after, tasks });
                    let done = entries.last().map_or(after, |entry| entry.sequence);
                    let changes = entries.into_iter().map(Change::Audit).collect();
                    (changes, Place { part: Part::Audit, done, of: self.audit_end })
                }
                Next::Tasks(from) => {
                    let (changes, next) = self.store.dump_tasks(from, PAGE).await?;
                    self.next = next.map_or(Next::Totals, Next::Tasks);
                    let done = next.map_or(self.last_sequence, |next| next.sequence.saturating_sub(1));
                    (changes, Place { part: Part::Tasks, done, of: self.last_sequence })
                }
                Next::Totals => {
                    self.next = Next::End;
                    let ended = self.store.count_ended().await?;
                    let totals = Totals { last_sequence: self.last_sequence, ended };
                    (vec![Change::Totals(totals)], Place { part: Part::Totals, done: 0, of: 0 })
                }
                Next::End => return Ok(None),
            };
            if !changes.is_empty() {
                return Ok(Some((changes, place)));
            }
        }
    }

    /// What the snapshot had, and then the files of inputs, which may be many.
    async fn records_page(&mut self) -> Result<Vec<Change>, StoreError> {
        let (mut page, mut rows) = (Vec::new(), 0);
        while rows < PAGE {
            if let Some(change) = self.records.pop_front() {
                rows += super::dump::rows(&change);
                page.push(change);
            } else if let Some(id) = self.inputs.pop_front() {
                let files = self.store.list_input_files(id).await?;
                self.records.extend(files.chunks(PAGE).map(|files| Change::InputFiles(id, files.into())));
            } else {
                break;
            }
        }
        Ok(page)
    }
}

/// What a snapshot has of everything but the cluster, the audit log and submissions; each kind by its key.
fn records(mut snapshot: Snapshot) -> Vec<Change> {
    snapshot.users.sort_by(|a, b| a.name.cmp(&b.name));
    snapshot.tokens.sort_by_key(|token| token.id);
    snapshot.logins.sort_by_key(|login| login.id);
    snapshot.guesses.sort_by(|(a, _), (b, _)| a.cmp(b));
    snapshot.unswept.sort_unstable();
    snapshot.inputs.sort_by_key(|input| input.id);
    snapshot.file_usage.sort_by(|(a, _), (b, _)| a.cmp(b));
    snapshot.workers.sort_by(|a, b| a.id.cmp(&b.id));
    snapshot.join_tokens.sort_by_key(|token| token.id);
    snapshot.pending.sort_by(|a, b| a.worker.cmp(&b.worker));
    snapshot.registries.sort_by(|a, b| a.registry.cmp(&b.registry));

    let mut changes: Vec<Change> = snapshot.users.into_iter().map(Change::User).collect();
    changes.extend(snapshot.tokens.into_iter().map(|token| Change::Token(token.id, Some(token))));
    changes.extend(snapshot.logins.into_iter().map(|login| Change::Login(login.id, Some(login))));
    changes.extend(snapshot.guesses.into_iter().map(|(key, count)| Change::Guess(key, Some(count))));
    changes.extend(snapshot.unswept.into_iter().map(Change::Left));
    changes.extend(snapshot.file_usage.into_iter().map(|(user, usage)| Change::FileUsage(user, usage)));
    changes.extend(snapshot.workers.into_iter().map(|worker| Change::Worker(worker.id.clone(), Some(worker))));
    changes.extend(snapshot.join_tokens.into_iter().map(|token| Change::JoinToken(token.id, Some(token))));
    changes.extend(snapshot.pending.into_iter().map(|pending| Change::Pending(pending.worker.clone(), Some(pending))));
    let registries = snapshot.registries.into_iter();
    changes.extend(registries.map(|record| Change::Registry(record.registry.clone(), Some(record))));
    changes.extend(snapshot.inputs.into_iter().map(Change::Input));
    changes
}
