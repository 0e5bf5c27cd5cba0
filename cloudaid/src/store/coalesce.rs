//! What a batch of changes comes to: every part that it touches once, with its last value.
//!
//! A driver that steps a thousand inputs writes the progress of a busy array a thousand times; the store only has to
//! write it once. Parts are sorted by key, so that a store writes neighbours together.

use std::mem;
use std::sync::Arc;

use cloudaid_core::account::{TokenRecord, UserRecord};
use cloudaid_core::admission::{JoinTokenRecord, PendingRecord};
use cloudaid_core::files::{FileUsage, GoneFile, InputFile, InputRecord, Leftover, UploadRecord};
use cloudaid_core::guesses::{GuessCount, GuessKey};
use cloudaid_core::login::LoginRecord;
use cloudaid_core::record::{
    AttemptRecord, Change, ClusterRecord, FileRecord, Progress, ResultRecord, TaskRecord, Totals, WorkerRecord,
};
use cloudaid_core::registry::RegistryRecord;
use shared::audit::AuditEntry;
use shared::id::{AttemptKey, InputId, LoginId, TaskId, TokenId, UserName, WorkerId};
use shared::registry::RegistryName;
use shared::task::TaskSpec;

/// The changes of one commit, by kind.
#[derive(Debug, Default, PartialEq)]
pub struct Batch {
    /// The cluster's own facts.
    pub cluster: Option<ClusterRecord>,
    /// By name.
    pub users: Vec<UserRecord>,
    /// By id; none: it goes.
    pub tokens: Vec<(TokenId, Option<TokenRecord>)>,
    /// By sequence.
    pub audit: Vec<AuditEntry>,
    /// By id; none: it goes.
    pub logins: Vec<(LoginId, Option<LoginRecord>)>,
    /// By key; none: it goes.
    pub guesses: Vec<(GuessKey, Option<GuessCount>)>,
    /// By name; none: it goes.
    pub workers: Vec<(WorkerId, Option<WorkerRecord>)>,
    /// By id; none: it goes.
    pub join_tokens: Vec<(TokenId, Option<JoinTokenRecord>)>,
    /// Registries.
    pub registries: Vec<(RegistryName, Option<RegistryRecord>)>,
    /// By name; none: it goes.
    pub pending: Vec<(WorkerId, Option<PendingRecord>)>,
    /// By sequence.
    pub tasks: Vec<NewTask>,
    /// By id.
    pub specs: Vec<(TaskId, Arc<TaskSpec>)>,
    /// By id; applied last.
    pub gone: Vec<TaskId>,
    /// In order.
    pub left: Vec<Leftover>,
    /// In order; applied after everything that leaves something.
    pub swept: Vec<Leftover>,
    /// Of submissions that are not among `tasks`; by id.
    pub progress: Vec<(TaskId, Progress)>,
    /// By element and attempt.
    pub attempts: Vec<AttemptRecord>,
    /// By element.
    pub results: Vec<ResultRecord>,
    /// By element and attempt; whether their bytes still have to go. Applied before everything else of files.
    pub run_files_gone: Vec<(AttemptKey, bool)>,
    /// By element and attempt.
    pub files: Vec<(AttemptKey, Arc<[FileRecord]>)>,
    /// In the order in which they came; applied after `files`.
    pub files_added: Vec<(AttemptKey, Arc<[FileRecord]>)>,
    /// By element and attempt; none: it has ended.
    pub uploads: Vec<(AttemptKey, Option<UploadRecord>)>,
    /// Applied after `files` and `files_added`; one of them may have come and gone.
    pub files_gone: Vec<GoneFile>,
    /// By id.
    pub inputs: Vec<InputRecord>,
    /// In the order in which they came.
    pub input_files: Vec<(InputId, Arc<[InputFile]>)>,
    /// By id; applied after `inputs` and `input_files`.
    pub inputs_gone: Vec<InputId>,
    /// By name.
    pub file_usage: Vec<(UserName, FileUsage)>,
    /// Applied last of all.
    pub totals: Option<Totals>,
}

/// A submission of a batch.
#[derive(Debug, PartialEq)]
pub struct NewTask {
    /// As accepted.
    pub record: Arc<TaskRecord>,
    /// Where it stands, if the batch says so; else nothing of it has started ([`Progress::untouched`]), unless the store
    /// knows the submission already.
    pub progress: Option<Progress>,
}

impl Batch {
    /// What `changes` come to.
    #[must_use]
    pub fn of(changes: Vec<Change>) -> Self {
        let mut batch = Self::default();
        for change in changes {
            match change {
                Change::Cluster(record) => batch.cluster = Some(record),
                Change::NewTask(record) => batch.tasks.push(NewTask { record, progress: None }),
                Change::Spec(id, spec) => batch.specs.push((id, spec)),
                Change::Gone(id) => batch.gone.push(id),
                Change::Left(leftover) => batch.left.push(leftover),
                Change::Swept(leftover) => batch.swept.push(leftover),
                Change::Progress(id, progress) => batch.progress.push((id, progress)),
                Change::Attempt(record) => batch.attempts.push(record),
                Change::Result(record) => batch.results.push(record),
                Change::Worker(id, record) => batch.workers.push((id, record)),
                Change::JoinToken(id, record) => batch.join_tokens.push((id, record)),
                Change::Registry(name, record) => batch.registries.push((name, record)),
                Change::Pending(id, record) => batch.pending.push((id, record)),
                Change::User(record) => batch.users.push(record),
                Change::Token(id, record) => batch.tokens.push((id, record)),
                Change::Audit(entry) => batch.audit.push(entry),
                Change::Login(id, record) => batch.logins.push((id, record)),
                Change::Guess(key, count) => batch.guesses.push((key, count)),
                Change::Files(key, files) => {
                    batch.files_added.retain(|(other, _)| run(other) != run(&key));
                    batch.files.push((key, files));
                }
                Change::FilesAdded(key, files) => batch.files_added.push((key, files)),
                Change::Upload(key, upload) => batch.uploads.push((key, upload)),
                Change::RunFilesGone(key, sweep) => {
                    batch.files.retain(|(other, _)| run(other) != run(&key));
                    batch.files_added.retain(|(other, _)| run(other) != run(&key));
                    batch.uploads.retain(|(other, _)| run(other) != run(&key));
                    let is_of_run = |gone: &GoneFile| (gone.element, gone.attempt) == (key.element(), key.attempt);
                    let left =
                        batch.files_gone.extract_if(.., |gone| is_of_run(gone)).filter_map(|gone| gone.leftover());
                    batch.left.extend(left);
                    batch.run_files_gone.push((key, sweep));
                }
                Change::FilesGone(files) => batch.files_gone.extend(files.iter().cloned()),
                Change::Input(record) => batch.inputs.push(record),
                Change::InputFiles(id, files) => batch.input_files.push((id, files)),
                Change::InputGone(id) => batch.inputs_gone.push(id),
                Change::FileUsage(user, usage) => batch.file_usage.push((user, usage)),
                Change::Totals(totals) => batch.totals = Some(totals),
            }
        }
        keep_last(&mut batch.users, |user| user.name.clone());
        keep_last(&mut batch.tokens, |(id, _)| *id);
        keep_last(&mut batch.logins, |(id, _)| *id);
        keep_last(&mut batch.guesses, |(key, _)| key.clone());
        keep_last(&mut batch.workers, |(id, _)| id.clone());
        keep_last(&mut batch.join_tokens, |(id, _)| *id);
        keep_last(&mut batch.registries, |(name, _)| name.clone());
        keep_last(&mut batch.pending, |(id, _)| id.clone());
        keep_last(&mut batch.tasks, |task| (task.record.sequence, task.record.id));
        keep_last(&mut batch.specs, |(id, _)| *id);
        keep_last(&mut batch.gone, |id| *id);
        keep_last(&mut batch.left, |leftover| *leftover);
        keep_last(&mut batch.swept, |leftover| *leftover);
        keep_last(&mut batch.inputs, |input| input.id);
        keep_last(&mut batch.inputs_gone, |id| *id);
        keep_last(&mut batch.file_usage, |(user, _)| user.clone());
        keep_last(&mut batch.progress, |(id, _)| *id);
        keep_last(&mut batch.attempts, |attempt| run(&attempt.key));
        keep_last(&mut batch.results, |result| result.element);
        // That bytes have to go stays so.
        batch.run_files_gone.sort_by_key(|(key, sweep)| (run(key), *sweep));
        keep_last(&mut batch.run_files_gone, |(key, _)| run(key));
        keep_last(&mut batch.files, |(key, _)| run(key));
        keep_last(&mut batch.uploads, |(key, _)| run(key));
        batch.merge_progress();
        batch
    }

    /// How many records are written.
    #[must_use]
    pub fn rows(&self) -> usize {
        let files: usize = self.files.iter().chain(&self.files_added).map(|(_, files)| files.len()).sum();
        let files = files + self.run_files_gone.len() + self.uploads.len();
        let uploaded: usize = self.input_files.iter().map(|(_, files)| files.len()).sum();
        let inputs = self.inputs.len() + self.inputs_gone.len() + uploaded;
        let files = files + self.files_gone.len() + inputs + self.file_usage.len();
        let people = self.users.len() + self.tokens.len() + self.logins.len() + self.guesses.len();
        let leftovers = self.gone.len() + self.left.len() + self.swept.len();
        let tasks = self.tasks.len() + self.specs.len() + self.progress.len() + leftovers;
        let workers = self.workers.len() + self.join_tokens.len() + self.pending.len() + self.registries.len();
        people + self.audit.len() + workers + tasks + self.attempts.len() + self.results.len() + files
    }

    /// Gives the progress of new submissions to them, so that they are written in one go.
    fn merge_progress(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let mut new: Vec<(TaskId, usize)> =
            self.tasks.iter().enumerate().map(|(at, task)| (task.record.id, at)).collect();
        new.sort_unstable();
        for (id, progress) in mem::take(&mut self.progress) {
            match new.binary_search_by_key(&id, |(id, _)| *id) {
                Ok(found) => self.tasks[new[found].1].progress = Some(progress),
                Err(_) => self.progress.push((id, progress)),
            }
        }
    }
}

/// What names a run in the store: no two runs of an element have the same number.
fn run(key: &AttemptKey) -> (TaskId, u32, u32) {
    (key.task, key.index, key.attempt)
}

/// Sorts by key; of those with the same key only the last stays.
fn keep_last<T, K: Ord>(all: &mut Vec<T>, key: impl Fn(&T) -> K) {
    all.sort_by_key(&key);
    all.dedup_by(|later, kept| {
        let same = key(later) == key(kept);
        if same {
            mem::swap(later, kept);
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::fixture;

    #[test]
    fn the_last_of_each_part_stays() {
        let (early, late) = (fixture::running(1), fixture::completed(1));
        let id = fixture::task_id(7);
        let (first, second) = (fixture::attempt(7, 0, 1, "a"), fixture::attempt(7, 0, 2, "b"));
        let ended = fixture::ended(first.clone());
        let batch = Batch::of(vec![
            Change::Progress(id, early.clone()),
            Change::Attempt(second.clone()),
            Change::Attempt(first),
            Change::Worker(fixture::worker_id("b"), Some(fixture::worker("b", 1))),
            Change::Progress(id, late.clone()),
            Change::Progress(fixture::task_id(3), early.clone()),
            Change::Attempt(ended.clone()),
            Change::Worker(fixture::worker_id("b"), Some(fixture::worker("b", 2))),
        ]);
        assert_eq!(batch.progress, [(fixture::task_id(3), early), (id, late)]);
        assert_eq!(batch.attempts, [ended, second]);
        assert_eq!(batch.workers, [(fixture::worker_id("b"), Some(fixture::worker("b", 2)))]);
        assert_eq!(batch.rows(), 5);
    }

    #[test]
    fn a_new_task_takes_its_progress_along() {
        let progress = fixture::running(1);
        let batch = Batch::of(vec![
            Change::NewTask(fixture::task(2)),
            Change::NewTask(fixture::task(1)),
            Change::Progress(fixture::task_id(2), progress.clone()),
            Change::Progress(fixture::task_id(9), progress.clone()),
        ]);
        let tasks = [
            NewTask { record: fixture::task(1), progress: None },
            NewTask { record: fixture::task(2), progress: Some(progress.clone()) },
        ];
        assert_eq!(batch.tasks, tasks);
        assert_eq!(batch.progress, [(fixture::task_id(9), progress)]);
    }

    #[test]
    fn a_fence_does_not_make_another_run() {
        let (mut first, last) = (fixture::attempt(1, 0, 1, "a"), fixture::attempt(1, 0, 1, "a"));
        first.key.fence.0 += 1;
        assert_eq!(Batch::of(vec![Change::Attempt(first), Change::Attempt(last.clone())]).attempts, [last]);
    }
}
