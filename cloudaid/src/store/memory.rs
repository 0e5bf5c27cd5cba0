//! A store in memory, for tests and benches only: everything is gone with the process, so no master may run on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use cloudaid_core::account::{TokenRecord, UserRecord};
use cloudaid_core::admission::{JoinTokenRecord, PendingRecord};
use cloudaid_core::files::{FileUsage, InputFile, InputRecord, Leftover, UploadRecord};
use cloudaid_core::guesses::{GuessCount, GuessKey};
use cloudaid_core::login::LoginRecord;
use cloudaid_core::record::{
    AttemptRecord, Change, ClusterRecord, FileRecord, Progress, ResultRecord, Snapshot, TaskRecord, WorkerRecord,
};
use cloudaid_core::registry::RegistryRecord;
use parking_lot::Mutex;
use shared::audit::{AuditEntry, Chain};
use shared::id::{AttemptKey, BlobId, ElementId, Elements, InputId, LoginId, TaskId, TokenId, UserName, WorkerId};
use shared::registry::RegistryName;
use shared::task::{AttemptState, TaskState};
use shared::time::WallTime;
use shared::view::TaskCounts;

use crate::store::coalesce::Batch;
use crate::store::dump::page;
use crate::store::{
    AuditPage, AuditQuery, CommitError, DumpCursor, FileCursor, FileName, FilePlace, FileQuery, Position, RunSize,
    Store, StoreError, StoredFile, StoredTask, TaskCursor, TaskQuery, pages,
};

mod apply;
mod dump;

/// A store in memory. Clones are handles on the same facts.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    facts: Arc<Mutex<Facts>>,
}

/// A run: submission, element, number.
type Run = (TaskId, u32, u32);

#[derive(Debug, Default)]
struct Facts {
    position: u64,
    last_sequence: u64,
    cluster: Option<ClusterRecord>,
    users: BTreeMap<UserName, UserRecord>,
    tokens: BTreeMap<TokenId, TokenRecord>,
    logins: BTreeMap<LoginId, LoginRecord>,
    guesses: BTreeMap<GuessKey, GuessCount>,
    audit: BTreeMap<u64, AuditEntry>,
    unswept: BTreeSet<Leftover>,
    inputs: BTreeMap<InputId, InputRecord>,
    input_files: BTreeMap<InputId, BTreeMap<Vec<u8>, InputFile>>,
    file_usage: BTreeMap<UserName, FileUsage>,
    /// Elements that had ended, of submissions that are no more.
    forgotten: TaskCounts,
    workers: BTreeMap<WorkerId, WorkerRecord>,
    join_tokens: BTreeMap<TokenId, JoinTokenRecord>,
    registries: BTreeMap<RegistryName, RegistryRecord>,
    pending: BTreeMap<WorkerId, PendingRecord>,
    tasks: BTreeMap<u64, (Arc<TaskRecord>, Progress)>,
    sequences: BTreeMap<TaskId, u64>,
    keys: BTreeMap<(UserName, Arc<str>), u64>,
    attempts: BTreeMap<Run, AttemptRecord>,
    results: BTreeMap<ElementId, ResultRecord>,
    files: BTreeMap<Run, BTreeMap<Vec<u8>, FileRecord>>,
    uploads: BTreeMap<Run, (AttemptKey, UploadRecord)>,
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn load(&self) -> Result<(Snapshot, Position), StoreError> {
        let facts = self.facts.lock();
        Ok((facts.snapshot(), Position(facts.position)))
    }

    async fn commit(&self, changes: Vec<Change>, expected: Position) -> Result<Position, CommitError> {
        let batch = Batch::of(changes);
        let mut facts = self.facts.lock();
        if facts.position != expected.0 {
            return Err(CommitError::Fenced { expected, found: Position(facts.position) });
        }
        facts.check(&batch).map_err(|what| CommitError::Fatal(StoreError::Corrupt(what)))?;
        facts.apply(batch);
        facts.position += 1;
        Ok(Position(facts.position))
    }

    async fn list_tasks(&self, query: TaskQuery) -> Result<(Vec<StoredTask>, Option<TaskCursor>), StoreError> {
        let facts = self.facts.lock();
        let before = query.after.map_or(u64::MAX, |cursor| cursor.0);
        let limit = query.page_size();
        let matching =
            facts.tasks.range(..before).rev().filter(|(_, (record, progress))| facts.matches(&query, record, progress));
        let mut page: Vec<StoredTask> =
            matching.take(limit + 1).map(|(_, (record, progress))| facts.stored(record, progress)).collect();
        let cursor = query.end_page(&mut page);
        Ok((page, cursor))
    }

    async fn find_task(&self, id: TaskId) -> Result<Option<StoredTask>, StoreError> {
        let facts = self.facts.lock();
        let found = facts.sequences.get(&id).and_then(|sequence| facts.tasks.get(sequence));
        Ok(found.map(|(record, progress)| facts.stored(record, progress)))
    }

    async fn list_attempts(&self, element: ElementId) -> Result<Vec<AttemptRecord>, StoreError> {
        Ok(self.facts.lock().attempts_of(element).cloned().collect())
    }

    async fn find_result(&self, element: ElementId) -> Result<Option<ResultRecord>, StoreError> {
        Ok(self.facts.lock().results.get(&element).cloned())
    }

    async fn find_keys(&self, keys: Vec<(UserName, Arc<str>)>) -> Result<Vec<Option<Arc<TaskRecord>>>, StoreError> {
        let facts = self.facts.lock();
        let task = |sequence| facts.tasks.get(sequence).map(|(record, _)| Arc::clone(record));
        Ok(keys.iter().map(|key| facts.keys.get(key).and_then(task)).collect())
    }

    async fn list_failures(
        &self,
        task: TaskId,
        elements: Elements,
        limit: usize,
    ) -> Result<Vec<ResultRecord>, StoreError> {
        let (first, last) = elements.bounds();
        let element = |index| ElementId { task, index };
        let facts = self.facts.lock();
        let found = facts.results.range(element(first)..=element(last)).map(|(_, result)| result);
        let failed = found.filter(|result| result.verdict.state() == TaskState::Failed);
        Ok(failed.take(limit).cloned().collect())
    }

    async fn list_user_files(&self, query: FileQuery) -> Result<(Vec<StoredFile>, Option<FileCursor>), StoreError> {
        let facts = self.facts.lock();
        let of_user = facts.tasks.values().rev().filter(|(record, _)| record.user == query.user);
        let files = of_user.flat_map(|(record, _)| {
            let files = query.select(record.sequence, facts.run_files(record.id, Elements::All));
            files.into_iter().map(|file| (record.sequence, file))
        });
        let mut page: Vec<_> = files.take(query.limit + 1).collect();
        let next = query.end_page(&mut page);
        Ok((page.into_iter().map(|(_, file)| file).collect(), next))
    }

    async fn list_run_files(&self, task: TaskId, elements: Elements) -> Result<Vec<StoredFile>, StoreError> {
        Ok(self.facts.lock().run_files(task, elements))
    }

    async fn list_run_sizes(&self, task: TaskId, elements: Elements) -> Result<Vec<RunSize>, StoreError> {
        let (first, last) = elements.bounds();
        let facts = self.facts.lock();
        let runs = facts.files.range((task, first, 0)..=(task, last, u32::MAX));
        let kept = runs.filter(|(run, files)| !files.is_empty() && !facts.uploads.contains_key(run));
        let sizes = kept.map(|((_, index, attempt), files)| RunSize {
            element: ElementId { task, index: *index },
            attempt: *attempt,
            size: FileUsage::of(files.values().map(|file| file.size)),
        });
        Ok(sizes.collect())
    }

    async fn list_run_blobs(&self, element: ElementId, attempt: u32) -> Result<BTreeSet<BlobId>, StoreError> {
        let facts = self.facts.lock();
        let run = (element.task, element.index, attempt);
        let of_files = facts.files.get(&run).into_iter().flat_map(BTreeMap::values).filter_map(|file| file.blob);
        let open = facts.uploads.get(&run).and_then(|(_, upload)| upload.open.as_ref());
        Ok(of_files.chain(open.map(|open| open.blob)).collect())
    }

    async fn find_upload(&self, element: ElementId, attempt: u32) -> Result<Option<UploadRecord>, StoreError> {
        let run = (element.task, element.index, attempt);
        Ok(self.facts.lock().uploads.get(&run).map(|(_, upload)| upload.clone()))
    }

    async fn list_uploads(&self, limit: usize) -> Result<Vec<AttemptKey>, StoreError> {
        Ok(self.facts.lock().uploads.values().map(|(key, _)| *key).take(limit).collect())
    }

    async fn list_input_files(&self, id: InputId) -> Result<Vec<InputFile>, StoreError> {
        Ok(self.facts.lock().input_files.get(&id).into_iter().flat_map(BTreeMap::values).cloned().collect())
    }

    async fn find_input_file(&self, id: InputId, path: Vec<u8>) -> Result<Option<InputFile>, StoreError> {
        Ok(self.facts.lock().input_files.get(&id).and_then(|files| files.get(&path)).cloned())
    }

    async fn list_tasks_with_files(&self, ended_before: WallTime, limit: usize) -> Result<Vec<TaskId>, StoreError> {
        let facts = self.facts.lock();
        let has_ended = |task: &TaskId| {
            let found = facts.sequences.get(task).and_then(|sequence| facts.tasks.get(sequence));
            found.is_some_and(|(_, progress)| progress.finished_at.is_some_and(|at| at < ended_before))
        };
        let with_files = facts.files.iter().filter(|(_, files)| !files.is_empty()).map(|((task, ..), _)| *task);
        let tasks: BTreeSet<TaskId> = with_files.filter(has_ended).collect();
        Ok(tasks.into_iter().take(limit).collect())
    }

    async fn list_files(
        &self,
        task: TaskId,
        elements: Elements,
        after: Option<FilePlace>,
        limit: usize,
    ) -> Result<Vec<StoredFile>, StoreError> {
        Ok(pages::page(self.facts.lock().run_files(task, elements), after.as_ref(), limit))
    }

    async fn find_files(
        &self,
        task: TaskId,
        elements: Elements,
        attempt: Option<u32>,
        name: FileName,
    ) -> Result<Vec<StoredFile>, StoreError> {
        Ok(pages::named(self.facts.lock().run_files(task, elements), attempt, &name))
    }

    async fn dump_tasks(
        &self,
        from: DumpCursor,
        limit: usize,
    ) -> Result<(Vec<Change>, Option<DumpCursor>), StoreError> {
        let facts = self.facts.lock();
        page(from, limit, |from, wanted| Ok(facts.find(from, wanted)))
    }

    async fn list_strays(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        Ok(self.facts.lock().strays(limit))
    }

    async fn count_ended(&self) -> Result<TaskCounts, StoreError> {
        Ok(self.facts.lock().count_ended())
    }

    async fn list_audit(&self, query: AuditQuery) -> Result<(Vec<AuditEntry>, Option<u64>), StoreError> {
        let facts = self.facts.lock();
        let wanted = |entry: &&AuditEntry| {
            query.user.as_ref().is_none_or(|user| entry.user.as_ref() == Some(user))
                && query.since.is_none_or(|since| entry.at >= since)
        };
        let limit = query.limit.saturating_add(1);
        let mut page: Vec<_> = match query.page {
            AuditPage::Before(before) => {
                let before = facts.audit.range(..before.unwrap_or(u64::MAX)).rev().map(|(_, entry)| entry);
                before.filter(wanted).take(limit).cloned().collect()
            }
            AuditPage::After(after) => {
                let after = facts.audit.range(after.saturating_add(1)..).map(|(_, entry)| entry);
                after.filter(wanted).take(limit).cloned().collect()
            }
        };
        let next = query.end_page(&mut page);
        Ok((page, next))
    }

    async fn count_tasks(&self, query: TaskQuery) -> Result<TaskCounts, StoreError> {
        let facts = self.facts.lock();
        let mut counts = TaskCounts::default();
        let all = facts.tasks.values();
        for (_, progress) in all.filter(|(record, progress)| facts.matches(&query, record, progress)) {
            *counts.of(progress.state()) += 1;
        }
        Ok(counts)
    }
}

impl Facts {
    fn snapshot(&self) -> Snapshot {
        let open = self.tasks.values().filter(|(_, progress)| !progress.state().is_final());
        let live = self.attempts.values().filter(|attempt| attempt.state != AttemptState::Ended);
        Snapshot {
            cluster: self.cluster,
            last_sequence: self.last_sequence,
            users: self.users.values().cloned().collect(),
            tokens: self.tokens.values().cloned().collect(),
            logins: self.logins.values().cloned().collect(),
            guesses: self.guesses.iter().map(|(key, count)| (key.clone(), *count)).collect(),
            audit: self
                .audit
                .values()
                .next_back()
                .map_or_else(Chain::default, |entry| Chain { sequence: entry.sequence, seal: entry.seal }),
            unswept: self.unswept.iter().copied().collect(),
            inputs: self.inputs.values().cloned().collect(),
            missing: self.missing().collect(),
            file_usage: self.file_usage.iter().map(|(user, usage)| (user.clone(), *usage)).collect(),
            workers: self.workers.values().cloned().collect(),
            join_tokens: self.join_tokens.values().cloned().collect(),
            registries: self.registries.values().cloned().collect(),
            pending: self.pending.values().cloned().collect(),
            tasks: open.cloned().collect(),
            attempts: live.cloned().collect(),
        }
    }

    fn missing(&self) -> impl Iterator<Item = (InputId, BlobId)> {
        let all = self.input_files.iter().flat_map(|(id, files)| files.values().map(move |file| (*id, file)));
        all.filter(|(_, file)| file.blake3.is_none()).map(|(id, file)| (id, file.blob))
    }

    fn count_ended(&self) -> TaskCounts {
        let mut counts = self.forgotten;
        for result in self.results.values() {
            *counts.of(result.verdict.state()) += 1;
        }
        counts
    }

    fn attempts_of(&self, element: ElementId) -> impl DoubleEndedIterator<Item = &AttemptRecord> {
        let ElementId { task, index } = element;
        self.attempts.range((task, index, 0)..=(task, index, u32::MAX)).map(|(_, attempt)| attempt)
    }

    /// Of all runs, by element, run and path.
    fn run_files(&self, task: TaskId, elements: Elements) -> Vec<StoredFile> {
        let (first, last) = elements.bounds();
        let runs = self.files.range((task, first, 0)..=(task, last, u32::MAX));
        let runs = runs.filter(|(run, _)| !self.uploads.contains_key(run));
        let files = runs.flat_map(|((_, index, attempt), files)| {
            let element = ElementId { task, index: *index };
            files.values().map(move |file| StoredFile { element, attempt: *attempt, file: file.clone() })
        });
        files.collect()
    }

    fn matches(&self, query: &TaskQuery, record: &TaskRecord, progress: &Progress) -> bool {
        let label = |(name, value): &(String, String)| record.spec.labels.get(name) == Some(value);
        let ran_on = |worker: &WorkerId| {
            let runs = self.attempts.range((record.id, 0, 0)..=(record.id, u32::MAX, u32::MAX));
            runs.map(|(_, attempt)| attempt).any(|attempt| attempt.worker == *worker)
        };
        query.state.is_none_or(|state| progress.state() == state)
            && query.user.as_ref().is_none_or(|user| record.user == *user)
            && query.since.is_none_or(|since| record.submitted_at >= since)
            && query.until.is_none_or(|until| record.submitted_at < until)
            && query.labels.iter().all(label)
            && query.worker.as_ref().is_none_or(ran_on)
    }

    fn stored(&self, record: &Arc<TaskRecord>, progress: &Progress) -> StoredTask {
        let only = record.array.is_none().then_some(ElementId { task: record.id, index: 0 });
        StoredTask {
            record: Arc::clone(record),
            progress: progress.clone(),
            last_attempt: only.and_then(|element| self.attempts_of(element).next_back().cloned()),
            result: only.and_then(|element| self.results.get(&element).cloned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::StoreFactory;

    struct MemoryFactory(MemoryStore);

    #[async_trait]
    impl StoreFactory for MemoryFactory {
        async fn open(&self) -> Arc<dyn Store> {
            Arc::new(self.0.clone())
        }
    }

    crate::store_contract!(MemoryFactory(MemoryStore::default()));
}
