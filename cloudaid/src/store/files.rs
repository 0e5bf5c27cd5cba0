//! How an output file is named in a question, and how many of them make a page.

use shared::files_of::PLAIN_PATH;

/// What the paths of a page come to at the most, in bytes, but for its last one.
const PATHS_OF_PAGE: usize = 4 << 20;

/// Which file is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileName {
    /// The one of this path.
    Path(Vec<u8>),
    /// The one whose path has this BLAKE3 and is longer than [`PLAIN_PATH`].
    Digest([u8; 32]),
}

impl FileName {
    /// By what a path is found besides itself; none: it is short enough to be named whole.
    #[must_use]
    pub fn digest(path: &[u8]) -> Option<[u8; 32]> {
        (path.len() > PLAIN_PATH).then(|| *blake3::hash(path).as_bytes())
    }

    /// Whether the file of this path is meant.
    #[must_use]
    pub fn is(&self, path: &[u8]) -> bool {
        match self {
            Self::Path(named) => named == path,
            Self::Digest(digest) => Self::digest(path).as_ref() == Some(digest),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_named_by_their_digest_too() {
        let (plain, long) = (vec![b'a'; PLAIN_PATH], vec![b'a'; PLAIN_PATH + 1]);
        let digest = FileName::digest(&long).expect("it is long");
        assert_eq!(FileName::digest(&plain), None);
        assert!(FileName::Digest(digest).is(&long) && FileName::Path(long.clone()).is(&long));
        assert!(!FileName::Digest(digest).is(&plain) && !FileName::Path(plain.clone()).is(&long));
        assert!(!FileName::Digest(*blake3::hash(&plain).as_bytes()).is(&plain), "nothing finds it by that");
    }

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
