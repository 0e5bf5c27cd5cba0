//! What a running container stores. It is measured again and again: a quota of the file system or the engine would be exact,
//! and most machines have none. A quota of the engine would not hold for /output and the volumes of an image either, and
//! would have to be measured beside them, because all of it is one amount.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::id::AttemptKey;
use shared::task::StoredPart;
use tokio::sync::Semaphore;

use self::largest::{Largest, Tally};
use super::volume::Volume;
use super::{health, outputs};
use crate::runtime::{MountedPlace, Nameless, Runtime, Stored};

mod largest;

/// Between two looks at the files, at the least, and between two at the layer, which the engine has to walk through, and what
/// stands beside it.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// And after a look that took long: nothing for so many times as long, up to [`LONGEST_PAUSE`].
const REST: u32 = 20;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// It is counted up to so many times the limit, so that what takes the most is most likely among it. What small files there are
/// beyond the limit cost no more time than those up to it.
const BEYOND: u64 = 2;

/// As the container sees the place of its output files, and all of its own.
const OUTPUT: &str = "/output";
const ROOT: &str = "/";
/// What is said for the path of files without a name.
const NAMELESS: &str = "(deleted)";

/// Says once what it is that limits tasks here.
pub(super) fn announce() {
    let (seen, rest) = match rustix::process::geteuid().is_root() {
        true => (", the volumes of its image, and files without a name that it has open", ""),
        // Docker's directories and other people's processes are closed to everybody else.
        false => {
            ("", "; not in the volumes of its image, nor in files without a name that it has open: that takes root")
        }
    };
    tracing::info!("What a standard task stores is measured: in /output, its own layer{seen}{rest}");
}

/// Measures one run.
#[derive(Debug)]
pub(super) struct StorageWatch {
    pub(super) key: AttemptKey,
    pub(super) runtime: Arc<dyn Runtime>,
    /// Engine calls are counted.
    pub(super) calls: Arc<Semaphore>,
    /// Looks at files without a name: each may take long, and takes a thread for that.
    pub(super) looks: Arc<Semaphore>,
    pub(super) output: PathBuf,
    pub(super) limit_bytes: u64,
}

impl StorageWatch {
    /// Returns what it stores when that has to end it.
    pub(super) async fn seen(self, reserved: bool) -> Excess {
        if reserved { self.in_the_way().await } else { self.exceeded().await }
    }

    /// Returns what it stores when that is more than it may.
    async fn exceeded(self) -> Excess {
        let mut layer = Layer::due_at(Instant::now() + PAUSES.1);
        let enough = self.limit_bytes.saturating_mul(BEYOND);
        loop {
            if layer.due <= Instant::now() {
                self.measure(&mut layer, enough).await;
            }
            let begin = Instant::now();
            let files = self.files(enough).await;
            let took = begin.elapsed();
            if files.bytes.saturating_add(layer.bytes) > self.limit_bytes {
                // What was in the layer may have been moved since.
                if files.bytes <= self.limit_bytes {
                    self.measure(&mut layer, enough).await;
                }
                if files.bytes.saturating_add(layer.bytes) > self.limit_bytes {
                    return excess(files, Some(layer)).await;
                }
            }
            tokio::time::sleep(pause(PAUSES.0, took)).await;
        }
    }

    /// Returns what it stores when a disk is full, and it has more there than was reserved for it. Nothing is measured while the
    /// disks have room.
    async fn in_the_way(self) -> Excess {
        let mut engine_disk = None;
        let mut layer = Layer::due_at(Instant::now());
        loop {
            if engine_disk.is_none() {
                engine_disk = self.runtime.info().await.ok().map(|info| info.root);
            }
            let (own, engine) = (self.output.clone(), engine_disk.clone().flatten());
            let full = tokio::task::spawn_blocking(move || {
                (health::is_full(&own), engine.is_some_and(|engine| health::is_full(&engine)))
            });
            let (files_are, layer_is) = full.await.unwrap_or_default();
            let begin = Instant::now();
            let files = if files_are { self.files(u64::MAX).await } else { Seen::default() };
            let took = begin.elapsed();
            if layer_is && layer.due <= Instant::now() {
                self.measure(&mut layer, u64::MAX).await;
            }
            if files.bytes.saturating_add(if layer_is { layer.bytes } else { 0 }) > self.limit_bytes {
                return excess(files, layer_is.then_some(layer)).await;
            }
            tokio::time::sleep(pause(PAUSES.0, took)).await;
        }
    }

    /// What is in /output; beyond `enough` it is not counted to the end.
    async fn files(&self, enough: u64) -> Seen {
        let place = MountedPlace { host: self.output.clone(), inside: OUTPUT.to_owned() };
        seen_in(vec![place], enough).await
    }

    async fn measure(&self, layer: &mut Layer, enough: u64) {
        let begin = Instant::now();
        let stored = {
            // Only as long as the engine is asked: what is looked at afterwards may take long. The semaphore is never closed.
            let _slot = self.calls.acquire().await;
            self.runtime.stored(&self.key).await
        };
        let problem = match stored {
            Ok(Stored { bytes, layer: place, volumes, nameless }) => {
                let hidden = volumes.iter().map(|volume| &volume.host).find(|host| !host.is_dir());
                let hidden = hidden.map(|host| host.display().to_string());
                let volumes = seen_in(volumes, enough).await;
                let nameless = without_a_name(nameless, &self.looks).await;
                layer.bytes = bytes.saturating_add(volumes.bytes).saturating_add(nameless);
                layer.own = (place, bytes);
                layer.largest = volumes.largest;
                layer.largest.add(NAMELESS.as_bytes().to_vec(), nameless);
                hidden.map(|hidden| format!("{hidden}, a volume of its image, is not to be seen from here"))
            }
            Err(error) => Some(error.to_string()),
        };
        let was_measured = std::mem::replace(&mut layer.is_measured, problem.is_none());
        if let Some(problem) = problem.filter(|_| was_measured) {
            tracing::warn!(task = %self.key, problem, "What the container stores beside /output cannot be measured now");
        }
        layer.due = Instant::now() + pause(PAUSES.1, begin.elapsed());
    }
}

/// What is known of a container's own layer, of the volumes of its image, and of what it holds without a name.
struct Layer {
    bytes: u64,
    /// What takes the most, beside its own layer.
    largest: Largest,
    /// Where its own layer is on the host, if that is known, and what is in it by the engine's word.
    own: (Option<PathBuf>, u64),
    /// When it is measured again.
    due: Instant,
    /// Whether the last try succeeded.
    is_measured: bool,
}

impl Layer {
    fn due_at(due: Instant) -> Self {
        Self { bytes: 0, largest: Largest::default(), own: (None, 0), due, is_measured: true }
    }
}

/// What a run stores that has to end it.
#[derive(Debug)]
pub(super) struct Excess {
    /// In bytes, at the least.
    pub(super) used_bytes: u64,
    /// What takes the most of it, the largest first.
    pub(super) largest: Vec<StoredPart>,
}

/// What was counted, in bytes, and what takes the most of it.
#[derive(Debug, Default)]
struct Seen {
    bytes: u64,
    largest: Largest,
}

/// All of it together. The layer is looked into only now: the engine says no more than how much it is.
async fn excess(files: Seen, layer: Option<Layer>) -> Excess {
    let Seen { bytes: mut used_bytes, mut largest } = files;
    if let Some(layer) = layer {
        let (place, own) = layer.own;
        used_bytes = used_bytes.saturating_add(layer.bytes);
        largest.extend(layer.largest);
        let look = move || largest_of_layer(place.as_deref(), own);
        largest.extend(tokio::task::spawn_blocking(look).await.unwrap_or_default());
    }
    Excess { used_bytes, largest: largest.into_parts() }
}

/// By the engine's word it is so large altogether.
fn largest_of_layer(place: Option<&Path>, bytes: u64) -> Largest {
    let mut tally = Tally::of(ROOT);
    if let Some(place) = place {
        outputs::lengths(place, |path, bytes| tally.add(path, bytes));
    }
    tally.finish(bytes)
}

/// What takes the most in the /output of its own that a run has filled, which may store so many bytes, if that is known; none:
/// it has not filled it.
pub(super) async fn filled(volume: Volume, output: PathBuf, limit: Option<u64>) -> Option<Vec<StoredPart>> {
    let look = move || {
        volume.is_full(limit).then(|| {
            let mut tally = Tally::of(OUTPUT);
            let bytes = outputs::used_soon(&output, |path, bytes| tally.add(path, bytes));
            tally.finish(bytes.max(volume.stored())).into_parts()
        })
    };
    tokio::task::spawn_blocking(look).await.ok().flatten()
}

fn pause(least: Duration, took: Duration) -> Duration {
    (took * REST).clamp(least, LONGEST_PAUSE)
}

/// What is in these directories; beyond `enough` it is not counted to the end.
async fn seen_in(places: Vec<MountedPlace>, enough: u64) -> Seen {
    tokio::task::spawn_blocking(move || count(&places, enough)).await.unwrap_or_default()
}

fn count(places: &[MountedPlace], enough: u64) -> Seen {
    let mut seen = Seen::default();
    for MountedPlace { host, inside } in places {
        let mut tally = Tally::of(inside);
        let left = enough.saturating_sub(seen.bytes);
        let bytes = outputs::used(host, left, |path, bytes| tally.add(path, bytes));
        seen.bytes = seen.bytes.saturating_add(bytes);
        seen.largest.extend(tally.finish(bytes));
    }
    seen
}

/// Bytes in files without a name.
async fn without_a_name(nameless: Option<Nameless>, looks: &Arc<Semaphore>) -> u64 {
    let Some(nameless) = nameless else { return 0 };
    // The semaphore is never closed.
    let turn = Arc::clone(looks).acquire_owned().await;
    let look = move || {
        // To its end, also where nobody waits for that any more.
        let _turn = turn;
        nameless.bytes()
    };
    tokio::task::spawn_blocking(look).await.unwrap_or(0)
}

#[cfg(test)]
mod tests;
