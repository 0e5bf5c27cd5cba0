//! What was read of a log while the master could not take it: files of the run, there only for as long as they are needed.
//!
//! The first has the beginning, of three quarters of what there may be; when it is full others go on from it, each of an
//! eighth. Where there is no room for more, by the limit of the run or by that of all together, the oldest of these goes: the
//! beginning stays, and the end. Each file says how much of the log was before it (see `part.rs`), so that it is known to the
//! byte what is lacking between two. Where nothing can be kept any more, as on a full disk, an empty one says up to where
//! everything was read.
//!
//! Nothing is synced. What was written outlives this process; a host that crashes also takes what the engine has not
//! synced of its files, which it never does.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::offsets::{Chunk, Offsets};
use super::room::{Room, Share};
use crate::worker::inputs::blocking;

pub(super) use part::{Batch, HEAD, Part};

mod part;

/// Bytes of disk for one run.
const LIMIT: u64 = 64 << 20;

/// Keeps parts of the log of one run.
#[derive(Debug)]
pub(in crate::worker) struct Spool {
    /// The first file. The others have a number behind its name.
    path: PathBuf,
    /// As many bytes as the files have.
    share: Share,
    limit: u64,
    /// In the order of their places in the log.
    parts: Vec<Part>,
}

impl Spool {
    /// The one in this file, and those beside it, which need not be there.
    pub(in crate::worker) fn at(path: PathBuf, room: Arc<Room>) -> Self {
        Self { path, share: Share::of(room), limit: LIMIT, parts: Vec::new() }
    }

    /// Finds what an earlier life has left.
    pub(super) async fn recall(&mut self) {
        let path = self.path.clone();
        match blocking(move || find(&path)).await {
            Ok(parts) => {
                self.share.have(parts.iter().map(|part| part.length).sum());
                self.parts = parts;
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "What was kept of a log for the master cannot be read; it is read again, if its container is there");
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The part that is brought to the master next.
    pub(super) fn first(&self) -> Option<&Part> {
        self.parts.first()
    }

    /// Up to where everything was read, if something is kept.
    pub(super) fn end(&self) -> Offsets {
        self.parts.iter().fold(Offsets::default(), |end, part| end.max(part.end))
    }

    /// Whether the log ends here.
    pub(super) fn is_whole(&self) -> bool {
        self.parts.iter().any(|part| part.is_whole)
    }

    /// Whether everything that is lacking before a part is at the master, which has this much.
    pub(super) fn is_reached(&self, durable: Offsets) -> bool {
        self.parts.iter().all(|part| durable.reach(part.start))
    }

    /// Adds all of the chunks, which begin at `at`: there one of the files ends, or another one begins. With `is_whole` they
    /// are the last. Behind everything that is kept older parts go for it.
    ///
    /// # Errors
    /// They are not kept. What of them is behind everything that is kept, it is noted that it was there.
    pub(super) async fn append(&mut self, at: Offsets, chunks: &[Chunk], is_whole: bool) -> io::Result<()> {
        let frames = part::frames(chunks, is_whole)?;
        let mut end = at;
        chunks.iter().for_each(|chunk| end.pass(chunk));
        let is_behind = at.reach(self.end());
        let room = self.make_room(at, frames.len() as u64, is_behind).await;
        let kept = match room {
            Some(number) => self.write(number, at, frames).await,
            None => Err(part::no_room("as much is kept for the master as may be")),
        };
        match kept {
            Ok(index) => {
                let part = &mut self.parts[index];
                part.end = end;
                part.is_whole |= is_whole;
                Ok(())
            }
            Err(error) => {
                if !self.end().reach(end) {
                    self.count(end.max(self.end())).await;
                }
                Err(error)
            }
        }
    }

    /// Takes room for frames of so many bytes. Returns in which part they are to be, which may have to be made; none if there
    /// is no room.
    async fn make_room(&mut self, at: Offsets, frames: u64, is_behind: bool) -> Option<u64> {
        let (mut goes_on, new) = (self.ending_at(at, frames), self.next_number());
        loop {
            let more = frames + if goes_on.is_some() { 0 } else { HEAD };
            if self.share.bytes() + more <= self.limit && self.share.take(more) {
                return Some(goes_on.unwrap_or(new));
            }
            // What comes is worth more than what is kept of the end, but for the beginning.
            if !is_behind || !self.drop_oldest(goes_on).await && goes_on.take().is_none() {
                return None;
            }
        }
    }

    /// The part that ends there and may become so much longer.
    fn ending_at(&self, at: Offsets, more: u64) -> Option<u64> {
        let limit = |index: usize| if index == 0 { self.limit / 4 * 3 } else { self.limit / 8 };
        let mut parts = self.parts.iter().enumerate();
        let fits = |index: usize, part: &Part| part.end == at && !part.is_whole && part.length + more <= limit(index);
        parts.find(|(index, part)| fits(*index, part)).map(|(_, part)| part.number)
    }

    fn next_number(&self) -> u64 {
        self.parts.iter().map(|part| part.number + 1).max().unwrap_or(0)
    }

    /// Room was taken. Returns where among the parts it is.
    async fn write(&mut self, number: u64, at: Offsets, frames: Vec<u8>) -> io::Result<usize> {
        let index = self.parts.iter().position(|part| part.number == number);
        let (path, place, bytes) = match index {
            Some(index) => (self.parts[index].path.clone(), self.parts[index].length, frames),
            None => (name(&self.path, number), 0, [part::head(at), frames].concat()),
        };
        let (more, to) = (bytes.len() as u64, path.clone());
        if let Err(error) = blocking(move || part::write(&to, place, &bytes)).await {
            self.share.give_back(more);
            return Err(error);
        }
        let index = index.unwrap_or_else(|| self.insert(Part::new(path, number, at)));
        self.parts[index].length += more;
        Ok(index)
    }

    fn insert(&mut self, part: Part) -> usize {
        let index = self.parts.partition_point(|other| place(other.start) <= place(part.start));
        self.parts.insert(index, part);
        index
    }

    /// Notes that everything up to there was read.
    async fn count(&mut self, end: Offsets) {
        let number = self.next_number();
        let path = name(&self.path, number);
        let to = path.clone();
        if blocking(move || part::put(&to, 0, &part::head(end))).await.is_err() {
            // The next life counts again from the last place that is known.
            return;
        }
        self.share.have(HEAD);
        // The one before said less.
        if let Some(last) = self.parts.pop_if(|last| last.is_empty()) {
            self.remove(&last).await;
        }
        self.insert(Part { length: HEAD, ..Part::new(path, number, end) });
    }

    /// Takes away the oldest but for the beginning. Returns whether there was one, other than that number.
    async fn drop_oldest(&mut self, spared: Option<u64>) -> bool {
        let oldest = usize::from(self.parts.first().is_some_and(|first| !first.is_empty()));
        if self.parts.get(oldest).is_none_or(|part| spared == Some(part.number)) {
            return false;
        }
        let part = self.parts.remove(oldest);
        self.remove(&part).await;
        true
    }

    /// Reads a little of the first part, from this place of its file on.
    pub(super) async fn read(&self, at: u64) -> io::Result<Batch> {
        let path = self.first().map_or_else(|| self.path.clone(), |part| part.path.clone());
        blocking(move || part::read(&File::open(path)?, at)).await
    }

    /// The master has this much.
    pub(super) async fn forget(&mut self, durable: Offsets) {
        while let Some(index) = self.parts.iter().position(|part| durable.reach(part.end)) {
            let part = self.parts.remove(index);
            self.remove(&part).await;
        }
    }

    /// The first part is of no use.
    pub(super) async fn lose_first(&mut self) {
        if !self.parts.is_empty() {
            let part = self.parts.remove(0);
            self.remove(&part).await;
        }
    }

    /// Nothing of it is needed any more.
    pub(super) async fn clear(&mut self) {
        while let Some(part) = self.parts.pop() {
            self.remove(&part).await;
        }
    }

    /// Takes away the file of one that is not among the parts any more.
    async fn remove(&mut self, part: &Part) {
        let path = part.path.clone();
        match blocking(move || fs::remove_file(path)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %part.path.display(), %error, "What was kept of a log cannot be removed");
            }
            Ok(()) | Err(_) => {}
        }
        self.share.give_back(part.length);
    }
}

/// The parts that are there, in their order.
fn find(path: &Path) -> io::Result<Vec<Part>> {
    let entries = match fs::read_dir(path.parent().unwrap_or(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut parts = Vec::new();
    for entry in entries {
        let found = entry?.path();
        let Some(number) = number(path, &found) else { continue };
        match Part::find(found.clone(), number) {
            Ok(part) => parts.extend(part),
            Err(error) => {
                tracing::warn!(path = %found.display(), %error, "A part of a log that was kept for the master cannot be read; it is read again, if its container is there");
            }
        }
    }
    parts.sort_unstable_by_key(|part| (place(part.start), part.number));
    Ok(parts)
}

/// The file of a part.
fn name(path: &Path, number: u64) -> PathBuf {
    if number == 0 { path.to_owned() } else { path.with_extension(number.to_string()) }
}

/// Which part a file is.
fn number(path: &Path, found: &Path) -> Option<u64> {
    let number = if found == path { 0 } else { found.extension()?.to_str()?.parse().ok()? };
    (name(path, number) == found).then_some(number)
}

/// Places in a log go up in at least one of the streams.
fn place(Offsets { stdout, stderr }: Offsets) -> u64 {
    stdout.saturating_add(stderr)
}

#[cfg(test)]
mod tests;
