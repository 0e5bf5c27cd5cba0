//! What a running container stores. It is measured again and again: a quota of the file system or the engine would be exact,
//! and most machines have none. A quota of the engine would not hold for /output and the volumes of an image either, and
//! would have to be measured beside them, because all of it is one amount.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::id::AttemptKey;
use tokio::sync::Semaphore;

use super::{health, outputs};
use crate::runtime::{Runtime, Stored};

/// Between two looks at the files, at the least, and between two at the layer, which the engine has to walk through, and what
/// stands beside it.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// And after a look that took long: nothing for so many times as long, up to [`LONGEST_PAUSE`].
const REST: u32 = 20;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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
    pub(super) output: PathBuf,
    pub(super) limit_bytes: u64,
}

impl StorageWatch {
    /// Returns what it stores when that has to end it.
    pub(super) async fn seen(self, reserved: bool) -> u64 {
        if reserved { self.in_the_way().await } else { self.exceeded().await }
    }

    /// Returns what it stores when that is more than it may.
    async fn exceeded(self) -> u64 {
        let mut layer = Layer { bytes: 0, due: Instant::now() + PAUSES.1, is_measured: true };
        loop {
            if layer.due <= Instant::now() {
                self.measure(&mut layer, self.limit_bytes).await;
            }
            let begin = Instant::now();
            let files = self.files(self.limit_bytes).await;
            let took = begin.elapsed();
            if files.saturating_add(layer.bytes) > self.limit_bytes {
                // What was in the layer may have been moved since.
                if files <= self.limit_bytes {
                    self.measure(&mut layer, self.limit_bytes).await;
                }
                let used = files.saturating_add(layer.bytes);
                if used > self.limit_bytes {
                    return used;
                }
            }
            tokio::time::sleep(pause(PAUSES.0, took)).await;
        }
    }

    /// Returns what it stores when a disk is full, and it has more there than was reserved for it. Nothing is measured while the
    /// disks have room.
    async fn in_the_way(self) -> u64 {
        let mut engine_disk = None;
        let mut layer = Layer { bytes: 0, due: Instant::now(), is_measured: true };
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
            let files = if files_are { self.files(u64::MAX).await } else { 0 };
            let took = begin.elapsed();
            if layer_is && layer.due <= Instant::now() {
                self.measure(&mut layer, u64::MAX).await;
            }
            let used = files.saturating_add(if layer_is { layer.bytes } else { 0 });
            if used > self.limit_bytes {
                return used;
            }
            tokio::time::sleep(pause(PAUSES.0, took)).await;
        }
    }

    /// Bytes in /output; beyond `enough` they are not counted to the end.
    async fn files(&self, enough: u64) -> u64 {
        below(vec![self.output.clone()], enough).await
    }

    async fn measure(&self, layer: &mut Layer, enough: u64) {
        let begin = Instant::now();
        let stored = {
            // The semaphore is never closed.
            let _slot = self.calls.acquire().await;
            self.runtime.stored(&self.key).await
        };
        let problem = match stored {
            Ok(Stored { bytes, volumes }) => {
                let hidden = volumes.iter().find(|volume| !volume.is_dir()).map(|volume| volume.display().to_string());
                layer.bytes = bytes.saturating_add(below(volumes, enough).await);
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
    /// When it is measured again.
    due: Instant,
    /// Whether the last try succeeded.
    is_measured: bool,
}

fn pause(least: Duration, took: Duration) -> Duration {
    (took * REST).clamp(least, LONGEST_PAUSE)
}

/// Bytes in these directories; beyond `enough` they are not counted to the end.
async fn below(places: Vec<PathBuf>, enough: u64) -> u64 {
    let count = move || {
        places.iter().fold(0, |used: u64, place| used.saturating_add(outputs::used(place, enough.saturating_sub(used))))
    };
    tokio::task::spawn_blocking(count).await.unwrap_or(0)
}
