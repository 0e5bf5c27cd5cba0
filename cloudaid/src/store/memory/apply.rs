//! What a commit changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloudaid_core::files::Leftover;
use cloudaid_core::record::{Progress, TaskRecord, Totals};
use shared::id::{AttemptKey, TaskId, UserName};
use shared::task::TaskState;
use shared::view::TaskCounts;

use super::Facts;
use crate::store::coalesce::Batch;

impl Facts {
    /// Whether the batch fits to what is known; asked before anything of it is applied.
    pub(super) fn check(&self, batch: &Batch) -> Result<(), String> {
        let mut sequences: BTreeMap<TaskId, u64> = BTreeMap::new();
        for task in &batch.tasks {
            let (id, sequence) = (task.record.id, task.record.sequence);
            let same = |known: &u64| *known == sequence;
            let holder = self.tasks.get(&sequence).is_none_or(|(record, _)| record.id == id);
            let key = key_of(&task.record).and_then(|key| self.keys.get(&key)).is_none_or(same);
            if !holder || !key || !self.sequences.get(&id).is_none_or(same) {
                return Err(format!("{id} has the sequence or key of another task"));
            }
            sequences.insert(id, sequence);
        }
        let known = |id: &TaskId| sequences.contains_key(id) || self.sequences.contains_key(id);
        let named =
            batch.progress.iter().map(|(id, _)| id).chain(batch.attempts.iter().map(|attempt| &attempt.key.task));
        let named = named.chain(batch.specs.iter().map(|(id, _)| id));
        named.filter(|id| !known(id)).map(|id| Err(format!("{id} is not known"))).next().unwrap_or(Ok(()))
    }

    pub(super) fn apply(&mut self, batch: Batch) {
        self.cluster = batch.cluster.or(self.cluster);
        for entry in batch.audit {
            self.audit.entry(entry.sequence).or_insert(entry);
        }
        put(&mut self.tokens, batch.tokens);
        put(&mut self.logins, batch.logins);
        put(&mut self.guesses, batch.guesses);
        self.users.extend(batch.users.into_iter().map(|user| (user.name.clone(), user)));
        put(&mut self.workers, batch.workers);
        put(&mut self.join_tokens, batch.join_tokens);
        put(&mut self.registries, batch.registries);
        put(&mut self.pending, batch.pending);
        let mut progress = batch.progress;
        for task in batch.tasks {
            let record = task.record;
            self.last_sequence = self.last_sequence.max(record.sequence);
            self.sequences.insert(record.id, record.sequence);
            self.keys.extend(key_of(&record).map(|key| (key, record.sequence)));
            progress.extend(task.progress.map(|progress| (record.id, progress)));
            let initial = Progress::untouched(record.indices());
            self.tasks.entry(record.sequence).or_insert((record, initial));
        }
        for (id, spec) in batch.specs {
            if let Some(task) = self.sequences.get(&id).and_then(|sequence| self.tasks.get_mut(sequence)) {
                task.0 = Arc::new(TaskRecord { spec, ..(*task.0).clone() });
            }
        }
        for (id, progress) in progress {
            if let Some(task) = self.sequences.get(&id).and_then(|sequence| self.tasks.get_mut(sequence)) {
                task.1 = progress;
            }
        }
        let run = |key: AttemptKey| (key.task, key.index, key.attempt);
        self.attempts.extend(batch.attempts.into_iter().map(|attempt| (run(attempt.key), attempt)));
        self.results.extend(batch.results.into_iter().map(|result| (result.element, result)));
        for (key, sweep) in batch.run_files_gone {
            self.files.remove(&run(key));
            self.uploads.remove(&run(key));
            self.unswept.extend(sweep.then(|| Leftover::Run(key.element(), key.attempt)));
        }
        for (key, files) in batch.files {
            let files = files.iter().map(|file| (file.path.clone(), file.clone())).collect();
            self.files.insert(run(key), files);
        }
        for (key, files) in batch.files_added {
            let known = self.files.entry(run(key)).or_default();
            known.extend(files.iter().map(|file| (file.path.clone(), file.clone())));
        }
        for (key, upload) in batch.uploads {
            match upload {
                Some(upload) => self.uploads.insert(run(key), (key, upload)),
                None => self.uploads.remove(&run(key)),
            };
        }
        for gone in batch.files_gone {
            let run = (gone.element.task, gone.element.index, gone.attempt);
            if let Some(files) = self.files.get_mut(&run)
                && files.get(&gone.path).is_some_and(|file| file.blob == gone.blob)
            {
                files.remove(&gone.path);
            }
            self.unswept.extend(gone.leftover());
        }
        self.inputs.extend(batch.inputs.into_iter().map(|input| (input.id, input)));
        for (id, files) in batch.input_files {
            let known = self.input_files.entry(id).or_default();
            known.extend(files.iter().map(|file| (file.path.clone(), file.clone())));
        }
        for id in batch.inputs_gone {
            self.input_files.remove(&id);
            if self.inputs.remove(&id).is_some() {
                self.unswept.insert(Leftover::Input(id));
            }
        }
        self.file_usage.extend(batch.file_usage);
        for id in batch.gone {
            self.forget(id);
        }
        self.unswept.extend(batch.left);
        for leftover in batch.swept {
            self.unswept.remove(&leftover);
        }
        if let Some(totals) = batch.totals {
            self.take_over(totals);
        }
    }

    /// What is not of a submission that is here, is of one that is no more.
    fn take_over(&mut self, Totals { last_sequence, ended }: Totals) {
        self.last_sequence = last_sequence;
        self.forgotten = TaskCounts::default();
        let here = self.count_ended();
        for state in [TaskState::Completed, TaskState::Failed, TaskState::Cancelled] {
            let (mut ended, mut here) = (ended, here);
            *self.forgotten.of(state) = ended.of(state).saturating_sub(*here.of(state));
        }
    }

    fn forget(&mut self, id: TaskId) {
        let Some((record, _)) = self.sequences.remove(&id).and_then(|sequence| self.tasks.remove(&sequence)) else {
            return;
        };
        if let Some(key) = key_of(&record) {
            self.keys.remove(&key);
        }
        self.attempts.retain(|(task, ..), _| *task != id);
        for (_, result) in self.results.extract_if(.., |element, _| element.task == id) {
            *self.forgotten.of(result.verdict.state()) += 1;
        }
        self.files.retain(|(task, ..), _| *task != id);
        self.uploads.retain(|(task, ..), _| *task != id);
        self.unswept.insert(Leftover::Task(id));
    }
}

/// What is there takes the place of what was; nothing takes it away.
fn put<K: Ord, V>(all: &mut BTreeMap<K, V>, changes: Vec<(K, Option<V>)>) {
    for (key, value) in changes {
        match value {
            Some(value) => all.insert(key, value),
            None => all.remove(&key),
        };
    }
}

fn key_of(record: &TaskRecord) -> Option<(UserName, Arc<str>)> {
    record.key.as_ref().map(|key| (record.user.clone(), Arc::clone(&key.key)))
}
