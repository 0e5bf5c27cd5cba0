//! The images that were pulled for tasks, and when each was last used. Only these are ever removed: what people have put
//! on a machine stays there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use shared::time::WallTime;

use super::name::key_of;
use crate::clock;

/// How exactly it is kept when an image was used: a burst of tasks does not write as often.
const EXACT: Duration = Duration::from_secs(60);
/// An image that was used so lately is in use, though its container may not be made yet.
const IN_USE: Duration = Duration::from_secs(10 * 60);

/// Kept in a file, if it has one.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    file: Option<PathBuf>,
    /// By the key of the name that each was pulled with.
    images: Mutex<BTreeMap<String, Kept>>,
}

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// When it was last used, in milliseconds since 1970.
    used: i64,
    /// The key of what it is by its content: later runs of a task may name it so.
    content: Option<String>,
}

impl Shelf {
    /// As it was left. What cannot be read is forgotten: then nothing is removed that should stay.
    pub(super) fn open(file: PathBuf) -> Self {
        let read = || serde_json::from_slice(&fs::read(&file)?).map_err(io::Error::from);
        let images: BTreeMap<String, Kept> = match read() {
            Ok(images) => images,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                tracing::warn!("{}: {error}: images that were pulled before stay for ever", file.display());
                BTreeMap::new()
            }
        };
        // Earlier versions kept names as tasks wrote them; of two that are one the later is kept.
        let mut by_key = BTreeMap::<String, Kept>::new();
        for (name, kept) in images {
            let kept = Kept { content: kept.content.as_deref().map(key_of), ..kept };
            let of_key = by_key.entry(key_of(&name)).or_insert_with(|| kept.clone());
            if of_key.used < kept.used {
                *of_key = kept;
            }
        }
        Self { file: Some(file), images: Mutex::new(by_key) }
    }

    /// It was pulled for a task.
    pub(super) fn pulled(&self, image: &str, content: Option<String>) {
        let kept = Kept { used: clock::wall().0, content };
        self.change(|images| {
            images.insert(image.to_owned(), kept);
            true
        });
    }

    /// A task uses it by a name of this key, whoever has pulled it.
    pub(super) fn used(&self, image: &str) {
        let now = clock::wall();
        self.change(|images| {
            let mut is_news = false;
            for (name, kept) in images.iter_mut() {
                let is_it = name == image || kept.content.as_deref() == Some(image);
                if is_it && now.since(WallTime(kept.used)) >= EXACT {
                    kept.used = now.0;
                    is_news = true;
                }
            }
            is_news
        });
    }

    /// It is not there any more.
    pub(super) fn gone(&self, image: &str) {
        self.change(|images| images.remove(image).is_some());
    }

    /// Those that are not in use, the one first that was used longest ago.
    pub(super) fn oldest(&self) -> Vec<String> {
        let now = clock::wall();
        let images = self.images.lock();
        let mut idle: Vec<_> = images.iter().filter(|(_, kept)| now.since(WallTime(kept.used)) > IN_USE).collect();
        idle.sort_by_key(|(_, kept)| kept.used);
        idle.into_iter().map(|(image, _)| image.clone()).collect()
    }

    /// Writes if `change` says so. Half of a file is never there; one that cannot be written is one that says too little.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Kept>) -> bool) {
        let mut images = self.images.lock();
        let Some(file) = self.file.as_ref().filter(|_| change(&mut images)) else { return };
        let write = || {
            let fresh = file.with_extension("new");
            fs::write(&fresh, serde_json::to_vec(&*images)?)?;
            fs::rename(&fresh, file)
        };
        if let Err(error) = write() {
            tracing::warn!("{}: {error}: it is not kept which images were pulled for tasks", file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_pulled_is_old_and_that_outlives_the_process() {
        let scratch = tempfile::tempdir().expect("a directory");
        let file = scratch.path().join("images");
        let hour_ago = |hours: i64| clock::wall().0 - hours * 3_600_000;
        let kept = |hours, content: Option<&str>| Kept { used: hour_ago(hours), content: content.map(str::to_owned) };
        let e = format!("r.io/e@sha256:{}", "0".repeat(64));
        let kept = [
            ("r.io/a:1", kept(1, None)),
            ("r.io/b:1", kept(2, None)),
            ("r.io/c:1", kept(3, None)),
            ("r.io/e:1", kept(4, Some(e.as_str()))),
            ("f", kept(9, None)),
            ("docker.io/library/f:latest", kept(5, None)),
            ("library/f", kept(7, None)),
        ];
        let kept = BTreeMap::from(kept);
        fs::write(&file, serde_json::to_vec(&kept).expect("json")).expect("written");
        let shelf = Shelf::open(file.clone());
        assert_eq!(shelf.oldest(), ["docker.io/library/f:latest", "r.io/e:1", "r.io/c:1", "r.io/b:1", "r.io/a:1"]);
        shelf.gone("docker.io/library/f:latest");
        shelf.used("r.io/c:1");
        shelf.used(&e);
        shelf.used("r.io/of-the-host:1");
        shelf.pulled("r.io/d:1", None);
        shelf.gone("r.io/b:1");
        assert_eq!(shelf.oldest(), ["r.io/a:1"], "what was used just now is in use");
        let again = Shelf::open(file);
        let kept: Vec<_> = again.images.lock().keys().cloned().collect();
        assert_eq!(kept, ["r.io/a:1", "r.io/c:1", "r.io/d:1", "r.io/e:1"]);
        assert_eq!(again.oldest(), ["r.io/a:1"]);
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
