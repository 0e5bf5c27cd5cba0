//! Files that can be opened, and not be read to their end.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use crate::worker::data_dir::replace;
use crate::worker::outputs::shown;

/// How often such a file is tried.
const TRIES: u32 = 3;
/// The most of them that are told apart: where there are more it is the disk that fails.
const LIMIT: usize = 100;

/// Those of one upload, over all its tries.
#[derive(Debug, Clone, Default)]
pub(super) struct Unreadable(BTreeMap<Vec<u8>, Failed>);

#[derive(Debug, Clone)]
struct Failed {
    tries: u32,
    why: String,
}

impl Unreadable {
    /// A file could not be read once more. Returns whether the others are worth another try.
    pub(super) fn add(&mut self, path: Vec<u8>, error: &io::Error) -> bool {
        let tries = self.0.get(&path).map_or(0, |failed| failed.tries);
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it has become shorter meanwhile".to_owned(),
            _ => error.to_string(),
        };
        self.0.insert(path, Failed { tries: tries + 1, why });
        self.0.len() <= LIMIT
    }

    /// Those that a worker before this one has given up, as [`Unreadable::keep`] has left them at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is no such list.
    pub(super) fn load(path: &Path) -> io::Result<Self> {
        let kept = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other?,
        };
        let kept: BTreeMap<String, String> = serde_json::from_slice(&kept)?;
        let mut given_up = BTreeMap::new();
        for (path, why) in kept {
            let path = hex::decode(path).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            given_up.insert(path, Failed { tries: TRIES, why });
        }
        Ok(Self(given_up))
    }

    /// Makes durable which files are given up, if any: their paths in hex, with why.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep(&self, path: &Path) -> io::Result<()> {
        let given_up = self.0.iter().filter(|(_, failed)| failed.tries >= TRIES);
        let kept: BTreeMap<String, &str> =
            given_up.map(|(path, failed)| (hex::encode(path), &failed.why[..])).collect();
        if kept.is_empty() { Ok(()) } else { replace(path, &serde_json::to_vec(&kept)?) }
    }

    /// Why a file is not tried any more, for people; none: it is.
    pub(super) fn given_up(&self, path: &[u8]) -> Option<String> {
        self.0.get(path).filter(|failed| failed.tries >= TRIES).map(|failed| note(path, &failed.why))
    }

    /// All that are not tried any more.
    pub(super) fn notes(&self) -> Vec<String> {
        self.0.keys().filter_map(|path| self.given_up(path)).collect()
    }
}

fn note(path: &[u8], why: &str) -> String {
    format!("skipped file that cannot be read to its end: {}: {why}", shown(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> io::Error {
        io::Error::other("bad sector")
    }

    #[test]
    fn a_file_is_given_up_after_three_tries_whatever_becomes_of_others() {
        let mut unreadable = Unreadable::default();
        for _ in 0..2 {
            assert!(unreadable.add(b"a".to_vec(), &broken()) && unreadable.add(b"b\n".to_vec(), &broken()));
        }
        assert_eq!((unreadable.given_up(b"a"), unreadable.notes()), (None, Vec::new()));
        assert!(unreadable.add(b"b\n".to_vec(), &io::ErrorKind::UnexpectedEof.into()));
        let note = "skipped file that cannot be read to its end: b\\n: it has become shorter meanwhile";
        assert_eq!(unreadable.given_up(b"b\n").as_deref(), Some(note));
        assert_eq!((unreadable.given_up(b"a"), unreadable.notes()), (None, vec![note.to_owned()]));
        assert!(unreadable.add(b"a".to_vec(), &broken()));
        let note = "skipped file that cannot be read to its end: a: bad sector";
        assert_eq!(unreadable.given_up(b"a").as_deref(), Some(note));
        assert_eq!(unreadable.given_up(b"c"), None);
    }

    #[test]
    fn another_worker_knows_what_was_given_up_and_tries_the_others_anew() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("given-up");
        let mut unreadable = Unreadable::load(&path).expect("nothing is there");
        for _ in 0..2 {
            assert!(unreadable.add(b"a\xff".to_vec(), &broken()) && unreadable.add(b"b".to_vec(), &broken()));
        }
        unreadable.keep(&path).expect("kept");
        assert!(!path.exists(), "none is given up");
        assert!(unreadable.add(b"a\xff".to_vec(), &broken()));
        unreadable.keep(&path).expect("kept");
        let loaded = Unreadable::load(&path).expect("it is there");
        assert_eq!(loaded.given_up(b"a\xff"), unreadable.given_up(b"a\xff"));
        assert_eq!(loaded.notes().len(), 1, "{loaded:?}");
        fs::write(&path, "{\"x\":").expect("written");
        assert!(Unreadable::load(&path).is_err());
    }

    #[test]
    fn where_very_many_cannot_be_read_the_rest_is_not_worth_a_try() {
        let mut unreadable = Unreadable::default();
        for number in 0..LIMIT {
            assert!(unreadable.add(number.to_string().into_bytes(), &broken()), "{number}");
        }
        assert!(unreadable.add(b"0".to_vec(), &broken()), "it is none more");
        assert!(!unreadable.add(b"more".to_vec(), &broken()));
    }
}
