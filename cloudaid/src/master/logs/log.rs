//! One log: its files, its index, and who writes and follows it. Everything here may block.

use std::io;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::batch::{Batch, Records};
use super::disk::{self, Disk, Unwritten};
use super::frames::Extent;
use super::index::{Checkpoint, Index};
use super::keep::Keep;
use super::thin::Remains;
use super::{LogCut, LogOffsets, LogPiece, LogRefusal};

/// The log of one run.
#[derive(Debug)]
pub(super) struct Log {
    disk: Disk,
    keep: Keep,
    /// Held by whoever loads or writes. Readers never take it, so they neither wait for a sync nor delay one.
    writer: Mutex<Writer>,
    /// What is durable; none until the file was looked at.
    index: RwLock<Option<Index>>,
    growth: watch::Sender<Growth>,
}

#[derive(Debug, Default)]
struct Writer {
    /// Whether all that is in the file is known to be durable.
    synced: bool,
    /// A sync failed: what is on the disk is not known any more, so nothing is acknowledged until the next start.
    failed: bool,
}

impl Writer {
    /// What was written, unless it was not; then it is noted whether anybody knows what is there instead.
    fn known<T>(&mut self, written: Result<T, Unwritten>) -> io::Result<T> {
        written.map_err(|unwritten| {
            self.failed |= unwritten.is_unknown;
            unwritten.error
        })
    }
}

/// What followers wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Growth {
    /// End of the log, as far as it is durable.
    pub(super) end: u64,
    /// Nothing more will come.
    pub(super) sealed: bool,
}

impl Log {
    pub(super) fn new(disk: Disk, keep: Keep) -> Self {
        let growth = watch::Sender::new(Growth::default());
        Self { disk, keep, writer: Mutex::default(), index: RwLock::default(), growth }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Growth> {
        self.growth.subscribe()
    }

    pub(super) fn seal(&self) {
        self.growth.send_modify(|growth| growth.sealed = true);
    }

    /// Whether the memory of this log may be dropped and its file looked at again.
    pub(super) fn may_be_forgotten(&self) -> bool {
        self.writer.try_lock().is_some_and(|writer| !writer.failed)
    }

    pub(super) fn offsets(&self) -> io::Result<LogOffsets> {
        self.with_index(|index| index.end().offsets)
    }

    /// The offsets for a worker, which will delete what stands before them.
    pub(super) fn durable_offsets(&self) -> io::Result<LogOffsets> {
        let mut writer = self.writer.lock();
        let end = self.ready(&mut writer)?;
        Ok(end.offsets)
    }

    /// Looks at the index, reading the file first if that was not done yet.
    pub(super) fn with_index<T>(&self, look: impl Fn(&Index) -> T) -> io::Result<T> {
        if let Some(index) = &*self.index.read() {
            return Ok(look(index));
        }
        let _writer = self.writer.lock();
        self.load()?;
        Ok(self.index.read().as_ref().map_or_else(|| look(&Index::default()), &look))
    }

    /// Looks at the index, and takes what is there with it.
    pub(super) fn look<T>(&self, look: impl Fn(&Index) -> T) -> io::Result<(T, Extent)> {
        self.with_index(|index| (look(index), Extent::of(index)))
    }

    /// Appends what is new of `pieces`, makes it durable, then lets readers see it. Cuts what is too much.
    pub(super) fn append(&self, pieces: &[LogPiece]) -> Result<LogOffsets, LogRefusal> {
        let mut writer = self.writer.lock();
        let end = self.ready(&mut writer)?;
        let mut batch = Batch::new(end.offsets, self.keep);
        let refusal = pieces.iter().find_map(|piece| batch.add(piece).err());
        let offsets = batch.offsets();
        self.write(&mut writer, batch.into_records())?;
        refusal.map_or(Ok(offsets), Err)
    }

    /// What comes next stands at `to`: what is missing before that will never come. Durable when this returns; another file
    /// begins there. Returns how much of each stream there is with it.
    pub(super) fn cut(&self, to: LogOffsets) -> io::Result<LogOffsets> {
        let mut writer = self.writer.lock();
        let end = self.ready(&mut writer)?;
        let offsets = to.max(end.offsets);
        if offsets == end.offsets {
            return Ok(offsets);
        }
        if self.index.read().as_ref().is_none_or(|index| index.last().is_none()) {
            let first = writer.known(self.disk.begin(&[]))?;
            self.index.write().get_or_insert_default().begin(first);
        }
        // The records that would have brought it have no places: its bytes take theirs.
        let gone = LogCut { from: end.offsets, to: offsets }.bytes();
        let position = end.position.saturating_add(gone.stdout).saturating_add(gone.stderr);
        let part = writer.known(self.disk.begin_later(Checkpoint { position, offsets }, &[]))?;
        self.index.write().get_or_insert_default().begin(part);
        self.growth.send_modify(|growth| growth.end = position);
        self.trim();
        Ok(offsets)
    }

    /// Removes what it holds; how much that was stays known. Returns the bytes that were freed.
    pub(super) fn clear(&self) -> io::Result<u64> {
        let mut writer = self.writer.lock();
        let end = self.ready(&mut writer)?;
        let stored = self.index.read().as_ref().map_or(0, |index| index.stored().disk);
        if stored == 0 {
            return Ok(0);
        }
        // Readers wait meanwhile: who comes after has the new index.
        let mut guard = self.index.write();
        let spans = guard.as_ref().map(Index::spans).unwrap_or_default();
        let first = spans.first().map(|span| &*span.part).filter(|part| self.disk.is_first(part));
        let part = self.disk.clear(first, end)?;
        // The first is another file by now.
        spans.iter().filter(|span| !self.disk.is_first(&span.part)).for_each(|span| span.part.cut());
        let mut index = Index::default();
        index.begin(part);
        *guard = Some(index);
        let synced = self.disk.sync_first();
        writer.failed |= synced.is_err();
        synced?;
        Ok(stored)
    }

    /// Loads the index and makes sure that what it says is durable.
    fn ready(&self, writer: &mut Writer) -> io::Result<Checkpoint> {
        if writer.failed {
            return Err(io::Error::other("an earlier write could not be made durable; restart the master"));
        }
        self.load()?;
        let guard = self.index.read();
        let Some(index) = &*guard else { return Ok(Checkpoint::default()) };
        if !writer.synced {
            // The files may hold what was written before a crash of this process and never synced.
            self.disk.sync(index.spans().iter().map(|span| &*span.part))?;
            writer.synced = true;
        }
        Ok(index.end())
    }

    /// Reads the files and cuts off what a crash has left unfinished. The caller holds the writer.
    fn load(&self) -> io::Result<()> {
        if self.index.read().is_some() {
            return Ok(());
        }
        let index = self.disk.load()?;
        let end = index.end().position;
        *self.index.write() = Some(index);
        self.growth.send_modify(|growth| growth.end = end);
        Ok(())
    }

    /// As much at a time as a file has room for. What was written before an error stays, and is known.
    fn write(&self, writer: &mut Writer, mut records: Records) -> io::Result<()> {
        while !records.is_empty() {
            let (room, end, last) = {
                let guard = self.index.read();
                let index = guard.as_ref();
                // A record that does not fit begins another file.
                let next = records.next_size();
                let room = index.and_then(|index| index.room(self.keep)).filter(|room| next.is_within(*room));
                let end = index.map(Index::end).unwrap_or_default();
                (room, end, index.and_then(Index::last).cloned())
            };
            let taken = records.take(room.unwrap_or_else(|| self.keep.of_file(last.is_none())));
            let written = match (&last, room) {
                (Some(part), Some(_)) => disk::extend(part, end, taken.bytes()).map(|()| None),
                (Some(_), None) => self.disk.begin_later(end, taken.bytes()).map(Some),
                (None, _) => self.disk.begin(taken.bytes()).map(Some),
            };
            let begun = writer.known(written)?;
            let end = {
                let mut guard = self.index.write();
                let index = guard.get_or_insert_default();
                begun.into_iter().for_each(|part| index.begin(part));
                taken.steps().iter().for_each(|step| index.push(step));
                index.end().position
            };
            self.growth.send_modify(|growth| growth.end = end);
            self.trim();
        }
        Ok(())
    }

    /// Takes out what is too much. The caller holds the writer.
    fn trim(&self) {
        while let Some(remains) = self.surplus() {
            let thin = remains.write(&self.disk);
            let gone = match &thin {
                Ok(None) => remains.only_file(),
                Ok(Some(_)) => remains.all_files(),
                // What has been acknowledged must not wait for it: it is cut out with the rest, and said to be.
                Err(error) => {
                    let log = remains.path();
                    tracing::warn!(log = %log.display(), %error, "What is to stay of this part of a log is lost");
                    // What is damaged would stay so.
                    let is_damaged = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
                    if is_damaged { remains.all_files() } else { remains.only_file() }
                }
            };
            let gone = self.index.write().get_or_insert_default().take_out(gone, thin.unwrap_or_default());
            gone.iter().for_each(|span| span.part.cut());
        }
    }

    fn surplus(&self) -> Option<Remains> {
        self.index.read().as_ref().and_then(|index| Remains::of(index, self.keep))
    }
}
