//! All submissions, and what belongs to none.

use shared::id::{ElementId, TaskId};

use super::Facts;
use crate::store::dump::{DumpCursor, Found};
use crate::store::{StoredFile, strays};

impl Facts {
    /// What there is from a cursor on, of each kind the first `wanted`.
    pub(super) fn find(&self, from: DumpCursor, wanted: usize) -> Found {
        let tasks: Vec<_> = self.tasks.range(from.sequence..).take(wanted).map(|(_, task)| task.clone()).collect();
        let parts = tasks.iter().map(|(record, _)| {
            let first = if record.sequence == from.sequence { from.index } else { 0 };
            (record.id, first)
        });
        let runs = |(task, first): (TaskId, u32)| (task, first, 0)..=(task, u32::MAX, u32::MAX);
        let element = |task, index| ElementId { task, index };
        let attempts = parts.clone().flat_map(|part| self.attempts.range(runs(part)));
        let results =
            parts.clone().flat_map(|(task, first)| self.results.range(element(task, first)..=element(task, u32::MAX)));
        let files = parts.flat_map(|part| self.files.range(runs(part))).flat_map(|((task, index, attempt), files)| {
            files.values().map(|file| StoredFile {
                element: element(*task, *index),
                attempt: *attempt,
                file: file.clone(),
            })
        });
        Found {
            attempts: attempts.take(wanted).map(|(_, attempt)| attempt.clone()).collect(),
            results: results.take(wanted).map(|(_, result)| result.clone()).collect(),
            files: files.take(wanted).collect(),
            uploads: self.uploads.values().cloned().collect(),
            tasks,
        }
    }

    /// In words, `limit` at the most.
    pub(super) fn strays(&self, limit: usize) -> Vec<String> {
        let is_stray = |task: &TaskId| !self.sequences.contains_key(task);
        let runs = self.attempts.values().map(|attempt| attempt.key);
        let runs = runs.filter(|key| is_stray(&key.task)).map(|key| strays::of_task("a run", key.element()));
        let results = self.results.keys().filter(|element| is_stray(&element.task));
        let results = results.map(|element| strays::of_task("a result", *element));
        let files = self.files.iter().filter(|((task, ..), files)| is_stray(task) && !files.is_empty());
        let files =
            files.map(|((task, index, _), _)| strays::of_task("files", ElementId { task: *task, index: *index }));
        let inputs = self.input_files.iter().filter(|(id, files)| !self.inputs.contains_key(id) && !files.is_empty());
        let inputs = inputs.map(|(id, _)| strays::of_input(&id.to_string()));
        runs.chain(results).chain(files).chain(inputs).take(limit).collect()
    }
}
