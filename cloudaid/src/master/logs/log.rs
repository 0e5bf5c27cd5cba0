//! One log: its file, its index, and who writes and follows it. Everything here may block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use shared::link::LogStream;
use tokio::sync::watch;

use super::frame::{self, Frames};
use super::index::{Checkpoint, Index};
use super::{LogOffsets, LogPiece, LogRefusal};

/// The log of one run.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
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

/// What followers wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Growth {
    /// End of the file, as far as it is durable.
    pub(super) end: u64,
    /// Nothing more will come.
    pub(super) sealed: bool,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        let growth = watch::Sender::new(Growth::default());
        Self { path, writer: Mutex::default(), index: RwLock::default(), growth }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
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

    /// Appends what is new of `pieces`, syncs once, then lets readers see it.
    pub(super) fn append(&self, pieces: &[LogPiece]) -> Result<LogOffsets, LogRefusal> {
        let mut writer = self.writer.lock();
        let end = self.ready(&mut writer)?;
        let mut batch = Batch::new(end.offsets);
        let refusal = pieces.iter().find_map(|piece| batch.add(piece).err());
        if !batch.bytes.is_empty() {
            self.write(&mut writer, end.position, &batch.bytes)?;
            self.publish(&batch);
        }
        refusal.map_or(Ok(batch.offsets), Err)
    }

    /// Loads the index and makes sure that what it says is durable.
    fn ready(&self, writer: &mut Writer) -> io::Result<Checkpoint> {
        if writer.failed {
            return Err(io::Error::other("an earlier write could not be made durable; restart the master"));
        }
        self.load()?;
        let end = self.index.read().as_ref().map(Index::end).unwrap_or_default();
        if !writer.synced {
            // The file may hold what was written before a crash of this process and never synced.
            if end.position > 0 {
                File::open(&self.path)?.sync_data()?;
                self.sync_directories(2)?;
            }
            writer.synced = true;
        }
        Ok(end)
    }

    /// Reads the file and cuts off what a crash has left unfinished. The caller holds the writer.
    fn load(&self) -> io::Result<()> {
        if self.index.read().is_some() {
            return Ok(());
        }
        let index = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => self.scan(&file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Index::default(),
            Err(error) => return Err(error),
        };
        let end = index.end().position;
        *self.index.write() = Some(index);
        self.growth.send_modify(|growth| growth.end = end);
        Ok(())
    }

    fn scan(&self, file: &File) -> io::Result<Index> {
        let size = file.metadata()?.len();
        let mut index = Index::default();
        let mut frames = Frames::of(file.try_clone()?, 0, size)?;
        while let Some(frame) = frames.next()? {
            let follows = frame.offset == index.end().offsets.of(frame.stream);
            if !follows || frames.data(&frame)?.is_none() {
                break;
            }
            index.push(&frame);
        }
        let torn = size - index.end().position;
        if torn > 0 {
            tracing::warn!(log = %self.path.display(), bytes = torn, "cut off what a crash left unfinished at the end of a log");
            file.set_len(index.end().position)?;
            file.sync_all()?;
        }
        Ok(index)
    }

    fn write(&self, writer: &mut Writer, end: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut file, new_names) = match OpenOptions::new().append(true).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create()?,
            opened => (opened?, 0),
        };
        if let Err(error) = file.write_all(bytes) {
            // A full disk: take back the part that was written, so that the next try begins at a frame.
            writer.failed = file.set_len(end).is_err();
            return Err(error);
        }
        let synced = file.sync_data().and_then(|()| self.sync_directories(new_names));
        writer.failed = synced.is_err();
        synced
    }

    /// Makes the file, and tells how many directories have a new name in them.
    fn create(&self) -> io::Result<(File, usize)> {
        let made = self.path.parent().map_or(Ok(()), fs::create_dir);
        let new_names = match made {
            Ok(()) => 2,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => 1,
            Err(error) => return Err(error),
        };
        let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        Ok((file, new_names))
    }

    /// Makes the name of the file durable, and with 2 that of its directory too.
    fn sync_directories(&self, count: usize) -> io::Result<()> {
        for directory in self.path.ancestors().skip(1).take(count) {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    fn publish(&self, batch: &Batch) {
        let mut guard = self.index.write();
        let index = guard.get_or_insert_default();
        for (stream, len) in &batch.frames {
            index.push_sized(frame::HEADER as u64 + len, *stream, *len);
        }
        let end = index.end().position;
        drop(guard);
        self.growth.send_modify(|growth| growth.end = end);
    }
}

/// The frames of one append.
struct Batch {
    bytes: Vec<u8>,
    frames: Vec<(LogStream, u64)>,
    offsets: LogOffsets,
    at_unix_ms: i64,
}

impl Batch {
    fn new(offsets: LogOffsets) -> Self {
        let at_unix_ms = jiff::Timestamp::now().as_millisecond();
        Self { bytes: Vec::new(), frames: Vec::new(), offsets, at_unix_ms }
    }

    fn add(&mut self, piece: &LogPiece) -> Result<(), LogRefusal> {
        let end = self.offsets.of_mut(piece.stream);
        let Some(known) = end.checked_sub(piece.offset) else {
            return Err(LogRefusal::Gap { stream: piece.stream, offset: piece.offset, end: *end });
        };
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(piece.data.len());
        for data in piece.data[known..].chunks(frame::DATA_LIMIT) {
            frame::encode(piece.stream, *end, self.at_unix_ms, data, &mut self.bytes);
            self.frames.push((piece.stream, data.len() as u64));
            *end += data.len() as u64;
        }
        Ok(())
    }
}
