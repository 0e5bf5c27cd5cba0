//! The images that were pulled for tasks, and when each was last used. Only these are ever removed: what people have put
//! on a machine stays there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use shared::time::WallTime;

use crate::clock;

/// How exactly it is kept when an image was used: a burst of tasks does not write as often.
const EXACT: Duration = Duration::from_secs(60);
/// An image that was used so lately is in use, though its container may not be made yet.
const IN_USE: Duration = Duration::from_secs(10 * 60);

/// Kept in a file, if it has one.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    file: Option<PathBuf>,
    /// When each was last used, in milliseconds since 1970.
    used: Mutex<BTreeMap<String, i64>>,
}

impl Shelf {
    /// As it was left. What cannot be read is forgotten: then nothing is removed that should stay.
    pub(super) fn open(file: PathBuf) -> Self {
        let read = || serde_json::from_slice(&fs::read(&file)?).map_err(io::Error::from);
        let used = match read() {
            Ok(used) => used,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                tracing::warn!("{}: {error}: images that were pulled before stay for ever", file.display());
                BTreeMap::new()
            }
        };
        Self { file: Some(file), used: Mutex::new(used) }
    }

    /// It was pulled for a task.
    pub(super) fn pulled(&self, image: &str) {
        let now = clock::wall();
        self.change(|used| used.insert(image.to_owned(), now.0).is_none_or(|before| is_news(before, now)));
    }

    /// A task uses it, whoever has pulled it.
    pub(super) fn used(&self, image: &str) {
        let now = clock::wall();
        self.change(|used| match used.get_mut(image) {
            Some(at) if is_news(*at, now) => {
                *at = now.0;
                true
            }
            Some(_) | None => false,
        });
    }

    /// It is not there any more.
    pub(super) fn gone(&self, image: &str) {
        self.change(|used| used.remove(image).is_some());
    }

    /// Those that are not in use, the one first that was used longest ago.
    pub(super) fn oldest(&self) -> Vec<String> {
        let now = clock::wall();
        let used = self.used.lock();
        let mut idle: Vec<_> = used.iter().filter(|(_, at)| now.since(WallTime(**at)) > IN_USE).collect();
        idle.sort_by_key(|(_, at)| **at);
        idle.into_iter().map(|(image, _)| image.clone()).collect()
    }

    /// Writes if `change` says so. Half of a file is never there; one that cannot be written is one that says too little.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, i64>) -> bool) {
        let mut used = self.used.lock();
        let Some(file) = self.file.as_ref().filter(|_| change(&mut used)) else { return };
        let write = || {
            let fresh = file.with_extension("new");
            fs::write(&fresh, serde_json::to_vec(&*used)?)?;
            fs::rename(&fresh, file)
        };
        if let Err(error) = write() {
            tracing::warn!("{}: {error}: it is not kept which images were pulled for tasks", file.display());
        }
    }
}

fn is_news(before: i64, now: WallTime) -> bool {
    now.since(WallTime(before)) >= EXACT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_pulled_is_old_and_that_outlives_the_process() {
        let scratch = tempfile::tempdir().expect("a directory");
        let file = scratch.path().join("images");
        let hour_ago = |hours: i64| clock::wall().0 - hours * 3_600_000;
        let kept = BTreeMap::from([("a:1", hour_ago(1)), ("b:1", hour_ago(2)), ("c:1", hour_ago(3))]);
        fs::write(&file, serde_json::to_vec(&kept).expect("json")).expect("written");
        let shelf = Shelf::open(file.clone());
        assert_eq!(shelf.oldest(), ["c:1", "b:1", "a:1"]);
        shelf.used("c:1");
        shelf.used("of-the-host:1");
        shelf.pulled("d:1");
        shelf.gone("b:1");
        assert_eq!(shelf.oldest(), ["a:1"], "what was used just now is in use");
        let again = Shelf::open(file);
        let kept: Vec<_> = again.used.lock().keys().cloned().collect();
        assert_eq!((kept, again.oldest()), (vec!["a:1".into(), "c:1".into(), "d:1".into()], vec!["a:1".to_owned()]));
    }

    #[test]
    fn a_file_that_says_nothing_removes_nothing() {
        let scratch = tempfile::tempdir().expect("a directory");
        let file = scratch.path().join("images");
        fs::write(&file, "nonsense").expect("written");
        assert_eq!(Shelf::open(file).oldest(), [""; 0]);
        assert_eq!(Shelf::default().oldest(), [""; 0]);
    }
}
