//! All submissions of a store, ended or not, as the changes that make them: page by page, in one order that every
//! implementation keeps.
//!
//! By sequence: the submission and its progress; then its elements by index, and of each its runs by number, its result,
//! and the files of its runs by number and path. What an element has is never divided between two pages.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use cloudaid_core::files::UploadRecord;
use cloudaid_core::record::{AttemptRecord, Change, FileRecord, Progress, ResultRecord, TaskRecord};
use shared::id::{AttemptKey, ElementId, Fence, TaskId};

use crate::store::StoredFile;

/// Where a page begins: at the first element that is not in an earlier one. The default is the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct DumpCursor {
    /// Of the submission.
    pub sequence: u64,
    /// Of the element; 0: with the submission itself.
    pub index: u32,
}

/// What a store has from a cursor on: of each kind its first rows in the order of their elements, `wanted` at the most.
#[derive(Debug, Default)]
pub struct Found {
    /// By sequence, from that of the cursor on.
    pub tasks: Vec<(Arc<TaskRecord>, Progress)>,
    /// Of these submissions, from the element of the cursor on, by sequence, index and number.
    pub attempts: Vec<AttemptRecord>,
    /// The same, by sequence and index.
    pub results: Vec<ResultRecord>,
    /// The same, by sequence, index, number and path; also of uploads that have not ended.
    pub files: Vec<StoredFile>,
    /// All uploads that have not ended, of whatever submissions.
    pub uploads: Vec<(AttemptKey, UploadRecord)>,
}

/// The changes of a page, and where the next one begins, if there is more.
pub type Page = (Vec<Change>, Option<DumpCursor>);

/// One page of about `limit` rows. `find` looks for what there is from the cursor on, with the most rows of each kind; it
/// is asked again, for more, where the first element alone has more than that.
pub fn page<E>(
    from: DumpCursor,
    limit: usize,
    mut find: impl FnMut(DumpCursor, usize) -> Result<Found, E>,
) -> Result<Page, E> {
    let limit = limit.max(1);
    let mut wanted = limit.saturating_add(1);
    loop {
        let found = find(from, wanted)?;
        if let Some(page) = found.cut(from, limit, wanted) {
            return Ok(page);
        }
        wanted = wanted.saturating_mul(8);
    }
}

impl Found {
    /// Whole elements, until there are `limit` rows; none: not even the first is known to be whole.
    pub fn cut(self, from: DumpCursor, limit: usize, wanted: usize) -> Option<Page> {
        let sequences: BTreeMap<TaskId, u64> =
            self.tasks.iter().map(|(record, _)| (record.id, record.sequence)).collect();
        let place = |element: ElementId| {
            let sequence = sequences.get(&element.task).copied().unwrap_or_default();
            DumpCursor { sequence, index: element.index }
        };
        // Of a kind that fills its page the last element may have more.
        let last_attempt = self.attempts.last().map(|attempt| place(attempt.key.element()));
        let last_result = self.results.last().map(|result| place(result.element));
        let last_file = self.files.last().map(|file| place(file.element));
        let last_task = self.tasks.last().map(|(record, _)| DumpCursor { sequence: record.sequence, index: 0 });
        let kinds = [
            (self.tasks.len(), last_task),
            (self.attempts.len(), last_attempt),
            (self.results.len(), last_result),
            (self.files.len(), last_file),
        ];
        let end = kinds.into_iter().filter(|(rows, _)| *rows >= wanted).filter_map(|(_, last)| last).min();

        let mut page = Pager::default();
        let mut attempts = self.attempts.into_iter().peekable();
        let mut results = self.results.into_iter().peekable();
        let mut files = self.files.into_iter().peekable();
        for (record, progress) in self.tasks {
            let (id, sequence) = (record.id, record.sequence);
            let mut next = (sequence > from.sequence || from.index == 0).then_some(0);
            let mut new = next.map(|_| [Change::Progress(id, progress), Change::NewTask(record)]);
            loop {
                let index = [
                    next.take(),
                    attempts.peek().filter(|attempt| attempt.key.task == id).map(|attempt| attempt.key.index),
                    results.peek().filter(|result| result.element.task == id).map(|result| result.element.index),
                    files.peek().filter(|file| file.element.task == id).map(|file| file.element.index),
                ];
                let Some(index) = index.into_iter().flatten().min() else { break };
                let cursor = DumpCursor { sequence, index };
                if page.rows >= limit || end.is_some_and(|end| cursor >= end) {
                    return (!page.changes.is_empty()).then_some((page.changes, Some(cursor)));
                }
                page.add(new.take().into_iter().flatten().rev());
                let element = ElementId { task: id, index };
                add_element(&mut page, element, &mut attempts, &mut results, (&mut files, &self.uploads));
            }
        }
        Some((page.changes, None))
    }
}

/// A page as it grows.
#[derive(Default)]
struct Pager {
    rows: usize,
    changes: Vec<Change>,
}

impl Pager {
    fn add(&mut self, changes: impl Iterator<Item = Change>) {
        for change in changes {
            self.rows += rows(&change);
            self.changes.push(change);
        }
    }
}

/// How many records a change carries.
#[must_use]
pub fn rows(change: &Change) -> usize {
    match change {
        Change::Files(_, files) | Change::FilesAdded(_, files) => files.len(),
        Change::InputFiles(_, files) => files.len(),
        _ => 1,
    }
}

fn add_element(
    page: &mut Pager,
    element: ElementId,
    attempts: &mut Peekable<impl Iterator<Item = AttemptRecord>>,
    results: &mut Peekable<impl Iterator<Item = ResultRecord>>,
    (files, uploads): (&mut Peekable<impl Iterator<Item = StoredFile>>, &[(AttemptKey, UploadRecord)]),
) {
    let mut uploads: BTreeMap<u32, _> = uploads
        .iter()
        .filter(|(key, _)| key.element() == element)
        .map(|(key, upload)| (key.attempt, (*key, upload)))
        .collect();
    let mut fences: BTreeMap<u32, Fence> = BTreeMap::new();
    while let Some(attempt) = attempts.next_if(|attempt| attempt.key.element() == element) {
        fences.insert(attempt.key.attempt, attempt.key.fence);
        page.add([Change::Attempt(attempt)].into_iter());
    }
    while let Some(result) = results.next_if(|result| result.element == element) {
        page.add([Change::Result(result)].into_iter());
    }
    while let Some(first) = files.next_if(|file| file.element == element) {
        let attempt = first.attempt;
        let mut of_run: Vec<FileRecord> = vec![first.file];
        while let Some(file) = files.next_if(|file| file.element == element && file.attempt == attempt) {
            of_run.push(file.file);
        }
        // A store keeps the fence with the run. Files of a run that it does not know are there all the same.
        let fence = fences.get(&attempt).copied().unwrap_or(Fence(0));
        let key = AttemptKey { task: element.task, index: element.index, attempt, fence };
        match uploads.remove(&attempt) {
            None => page.add([Change::Files(key, of_run.into())].into_iter()),
            // Nobody is to see them yet.
            Some((key, upload)) => page
                .add([Change::FilesAdded(key, of_run.into()), Change::Upload(key, Some(upload.clone()))].into_iter()),
        }
    }
    // Those of which no file has ended.
    page.add(uploads.into_values().map(|(key, upload)| Change::Upload(key, Some(upload.clone()))));
}
