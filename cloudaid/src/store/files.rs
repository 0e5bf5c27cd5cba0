//! How an output file is named in a question.

use shared::files_of::PLAIN_PATH;

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
}
