//! Pages of output files: where one ends, and what the next one is made of. All files of an element that are listed are of one
//! run, also where a later run brings its own between two pages.

use std::collections::BTreeMap;

use shared::id::UserName;

use super::{FileName, StoredFile, end_page};

/// What the paths of a page come to at the most, in bytes, but for its last one.
const PATHS_OF_PAGE: usize = 4 << 20;

/// Where a page of the files of a submission ends: at a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilePlace {
    /// Of the element.
    pub index: u32,
    /// Of the run; none: of the last one that has any.
    pub attempt: Option<u32>,
    /// Of the file; empty: before the first.
    pub path: Vec<u8>,
}

impl FilePlace {
    /// At this file.
    #[must_use]
    pub fn of(file: &StoredFile) -> Self {
        Self { index: file.element.index, attempt: Some(file.attempt), path: file.file.path.clone() }
    }

    fn is_before(&self, file: &StoredFile) -> bool {
        (file.element.index, &file.file.path) > (self.index, &self.path)
    }
}

/// Which files of a user to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileQuery {
    /// Whose submissions.
    pub user: UserName,
    /// After this page.
    pub after: Option<FileCursor>,
    /// The most to return, 1 or more; where their paths are long it is fewer.
    pub limit: usize,
}

/// Where a page of files of a user ends: at its last file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCursor {
    /// Of the submission.
    pub sequence: u64,
    /// In it.
    pub place: FilePlace,
}

impl FileQuery {
    /// Of the files of all runs of the submission with this sequence, by element, run and path, those that come after the last
    /// page.
    pub(crate) fn select(&self, sequence: u64, files: Vec<StoredFile>) -> Vec<StoredFile> {
        match &self.after {
            Some(after) if sequence > after.sequence => Vec::new(),
            Some(after) if sequence == after.sequence => behind(files, Some(&after.place)),
            Some(_) | None => behind(files, None),
        }
    }

    /// Cuts what was found, one more than the page if there are more, to the page. Returns the cursor of the next one.
    pub(crate) fn end_page(&self, found: &mut Vec<(u64, StoredFile)>) -> Option<FileCursor> {
        let mut room = PageRoom::new(self.limit);
        let fit = found.iter().take_while(|(_, file)| room.take(&file.file.path)).count();
        end_page(found, fit).map(|(sequence, file)| FileCursor { sequence: *sequence, place: FilePlace::of(file) })
    }
}

/// What a page of files has still room for. Its last file may be one whose path does not fit.
#[derive(Debug)]
pub(crate) struct PageRoom {
    files: usize,
    bytes: usize,
}

impl PageRoom {
    /// Of a page of so many files at the most.
    pub(crate) fn new(files: usize) -> Self {
        Self { files, bytes: PATHS_OF_PAGE }
    }

    /// Takes one more file, if there is room. Returns whether there was.
    pub(crate) fn take(&mut self, path: &[u8]) -> bool {
        let has_room = !self.is_full();
        if has_room {
            self.files -= 1;
            self.bytes = self.bytes.saturating_sub(path.len());
        }
        has_room
    }

    /// How many more files fit, if their paths do.
    pub(crate) fn files(&self) -> usize {
        self.files
    }

    /// Whether no other file fits.
    pub(crate) fn is_full(&self) -> bool {
        self.files == 0 || self.bytes == 0
    }
}

/// Of the files of all runs, by element, run and path, those that are seen: of the last run of each element, or of the one in
/// which the last page has ended.
fn seen(mut files: Vec<StoredFile>, after: Option<&FilePlace>) -> Vec<StoredFile> {
    let mut runs: BTreeMap<u32, u32> = files.iter().map(|file| (file.element.index, file.attempt)).collect();
    if let Some((place, attempt)) = after.and_then(|place| Some((place, place.attempt?))) {
        runs.insert(place.index, attempt);
    }
    files.retain(|file| runs.get(&file.element.index) == Some(&file.attempt));
    files
}

/// Of those that are seen, what comes after the last page.
fn behind(files: Vec<StoredFile>, after: Option<&FilePlace>) -> Vec<StoredFile> {
    let mut files = seen(files, after);
    files.retain(|file| after.is_none_or(|after| after.is_before(file)));
    files
}

/// Of those behind the last page, the ones of the next, which has `limit` at the most.
pub(crate) fn page(files: Vec<StoredFile>, after: Option<&FilePlace>, limit: usize) -> Vec<StoredFile> {
    let mut files = behind(files, after);
    let mut room = PageRoom::new(limit);
    let fit = files.iter().take_while(|file| room.take(&file.file.path)).count();
    files.truncate(fit);
    files
}

/// Of the files of all runs, by element, run and path, those with this name: of the runs with this number, or, if there is none,
/// of those that are seen.
pub(crate) fn named(files: Vec<StoredFile>, attempt: Option<u32>, name: &FileName) -> Vec<StoredFile> {
    let mut files = if attempt.is_some() { files } else { seen(files, None) };
    files.retain(|file| attempt.is_none_or(|attempt| attempt == file.attempt) && name.is(&file.file.path));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_with_its_files_or_with_their_paths() {
        let taken = |limit, path: &[u8]| {
            let mut room = PageRoom::new(limit);
            (0..1000).take_while(|_| room.take(path)).count()
        };
        assert_eq!((taken(0, b"a"), taken(7, b"a"), taken(1000, b"a")), (0, 7, 1000));
        assert_eq!(taken(1000, &vec![b'a'; 64 << 10]), 64);
        assert_eq!(taken(1000, &vec![b'a'; (64 << 10) - 1]), 65, "the last one need not fit");
    }
}
