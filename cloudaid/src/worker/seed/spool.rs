//! The log of one task, as the agent brings it: both streams in the order of their coming, in files of bounded size of
//! which the oldest goes when there are too many.
//!
//! ```text
//! log-N   bytes of stdout and of stderr before this file (u64 each), then pieces: stream u8, length u32, bytes
//! ```
//!
//! All numbers are little-endian. A tail that was torn by a crash is cut: the agent begins again where the file ends.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::Mutex;
use shared::link::LogStream;
use tokio::sync::watch;

use super::ledger::Status;
use crate::worker::data_dir::{entries, sync_parent};

/// A file that is larger is followed by the next.
const FILE_LIMIT: u64 = 8 << 20;
/// Together they always have the end of a log that a report may carry, see `logs.rs`.
const FILES: u32 = 5;
/// Bytes before the first piece, and before the bytes of a piece.
pub(super) const FILE_HEAD: u64 = 16;
pub(super) const PIECE_HEAD: u64 = 5;
/// How the streams are marked.
const STDOUT: u8 = 1;
const STDERR: u8 = 2;

/// Takes the log of one task.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    /// None until it is needed.
    writer: Mutex<Option<Writer>>,
    progress: watch::Sender<Progress>,
}

/// How far the log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// The newest file.
    pub(super) file: u32,
    /// Its good part.
    pub(super) length: u64,
    /// There when nothing more will come.
    pub(super) ended: Option<Status>,
}

/// Bytes of each stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offsets {
    pub(super) stdout: u64,
    pub(super) stderr: u64,
}

impl Offsets {
    fn of(&mut self, stream: LogStream) -> &mut u64 {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }
}

/// Appends to the newest file.
#[derive(Debug)]
struct Writer {
    file: File,
    number: u32,
    length: u64,
    offsets: Offsets,
}

impl Spool {
    /// That of the task whose files are in this directory. Nothing is opened before it is needed.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, writer: Mutex::new(None), progress: watch::Sender::default() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Nothing more will come.
    pub(super) fn end(&self, status: Status) {
        self.progress.send_modify(|progress| progress.ended = Some(status));
    }

    /// Follows how far it has come; what an earlier start has left counts. Blocks.
    pub(super) fn watch(&self) -> io::Result<watch::Receiver<Progress>> {
        let mut writer = self.writer.lock();
        if writer.is_none() && !numbers(&self.directory)?.is_empty() {
            self.opened(&mut writer)?;
        }
        Ok(self.progress.subscribe())
    }

    /// How much of each stream is here. Blocks.
    pub(super) fn offsets(&self) -> io::Result<Offsets> {
        let mut writer = self.writer.lock();
        Ok(self.opened(&mut writer)?.offsets)
    }

    /// Adds pieces, each with the place of its first byte in its stream, durably. Blocks.
    pub(super) fn append(&self, pieces: &[(LogStream, u64, Bytes)]) -> io::Result<Offsets> {
        let mut writer = self.writer.lock();
        let open = self.opened(&mut writer)?;
        let appended = pieces
            .iter()
            .try_for_each(|(stream, offset, data)| open.append(&self.directory, *stream, *offset, data))
            .and_then(|()| open.file.sync_data());
        if let Err(error) = appended {
            // What is in the file now is read anew before it is trusted.
            *writer = None;
            return Err(error);
        }
        let (file, length, offsets) = (open.number, open.length, open.offsets);
        self.progress.send_modify(|progress| *progress = Progress { file, length, ..*progress });
        Ok(offsets)
    }

    /// What comes next stands at `to`, as far as it is not here: what is missing before that will never come. Durable when it
    /// returns. Blocks.
    pub(super) fn cut(&self, to: Offsets) -> io::Result<()> {
        let mut writer = self.writer.lock();
        let open = self.opened(&mut writer)?;
        if let Err(error) = open.cut(&self.directory, to) {
            *writer = None;
            return Err(error);
        }
        let (file, length) = (open.number, open.length);
        self.progress.send_modify(|progress| *progress = Progress { file, length, ..*progress });
        Ok(())
    }

    fn opened<'a>(&self, writer: &'a mut Option<Writer>) -> io::Result<&'a mut Writer> {
        let open = match writer.take() {
            Some(open) => open,
            None => {
                let open = Writer::open(&self.directory)?;
                let (file, length) = (open.number, open.length);
                self.progress.send_modify(|progress| *progress = Progress { file, length, ..*progress });
                open
            }
        };
        Ok(writer.insert(open))
    }
}

impl Writer {
    fn open(directory: &Path) -> io::Result<Self> {
        let Some(newest) = numbers(directory)?.pop() else { return Self::create(directory, 0, Offsets::default()) };
        let file = File::options().read(true).append(true).open(path(directory, newest))?;
        let (offsets, length) = scan(BufReader::new(&file))?;
        if length < FILE_HEAD {
            // A crash came before its head was written: it is made anew behind the one before.
            fs::remove_file(path(directory, newest))?;
            return Self::open(directory);
        }
        file.set_len(length)?;
        Ok(Self { file, number: newest, length, offsets })
    }

    fn create(directory: &Path, number: u32, offsets: Offsets) -> io::Result<Self> {
        let path = path(directory, number);
        let mut file = File::options().create(true).truncate(true).write(true).open(&path)?;
        file.write_all(&[offsets.stdout.to_le_bytes(), offsets.stderr.to_le_bytes()].concat())?;
        sync_parent(&path)?;
        Ok(Self { file, number, length: FILE_HEAD, offsets })
    }

    fn append(&mut self, directory: &Path, stream: LogStream, offset: u64, data: &Bytes) -> io::Result<()> {
        let have = self.offsets.of(stream);
        let Some(known) = have.checked_sub(offset) else {
            return Err(io::Error::other("bytes of the log are missing"));
        };
        let new = data.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
        let Ok(size) = u32::try_from(new.len()) else {
            return Err(io::Error::other("a piece of the log is too large"));
        };
        if size == 0 {
            return Ok(());
        }
        *have += u64::from(size);
        let mark = match stream {
            LogStream::Stdout => STDOUT,
            LogStream::Stderr => STDERR,
        };
        self.file.write_all(&[&[mark], &size.to_le_bytes()[..], new].concat())?;
        self.length += PIECE_HEAD + u64::from(size);
        if self.length > FILE_LIMIT {
            self.follow(directory, self.offsets)?;
        }
        Ok(())
    }

    /// A file says at its head how much was before it: who reads is told what is missing.
    fn cut(&mut self, directory: &Path, to: Offsets) -> io::Result<()> {
        let Offsets { stdout, stderr } = self.offsets;
        let offsets = Offsets { stdout: stdout.max(to.stdout), stderr: stderr.max(to.stderr) };
        if offsets == self.offsets {
            return Ok(());
        }
        self.follow(directory, offsets)?;
        self.file.sync_data()
    }

    /// Goes on in the next file.
    fn follow(&mut self, directory: &Path, offsets: Offsets) -> io::Result<()> {
        self.file.sync_data()?;
        *self = Self::create(directory, self.number + 1, offsets)?;
        if let Some(old) = self.number.checked_sub(FILES) {
            fs::remove_file(path(directory, old))?;
        }
        Ok(())
    }
}

/// The bytes of each stream up to the end of the last whole piece, and where that is.
fn scan(mut file: impl Read + Seek) -> io::Result<(Offsets, u64)> {
    let end = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    if end < FILE_HEAD {
        return Ok((Offsets::default(), 0));
    }
    let mut offsets = head(&mut file)?;
    let mut length = FILE_HEAD;
    while let Some((stream, size)) = piece_head(&mut file)? {
        let next = length + PIECE_HEAD + u64::from(size);
        if next > end {
            break;
        }
        file.seek(SeekFrom::Start(next))?;
        *offsets.of(stream) += u64::from(size);
        length = next;
    }
    Ok((offsets, length))
}

/// What was before a file.
pub(super) fn head(mut file: impl Read) -> io::Result<Offsets> {
    let mut numbers = [0; FILE_HEAD as usize];
    file.read_exact(&mut numbers)?;
    let (stdout, stderr) = numbers.split_at(8);
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).map_err(io::Error::other);
    Ok(Offsets { stdout: number(stdout)?, stderr: number(stderr)? })
}

/// Whose the next piece is, and how long; none at the end, torn or not.
pub(super) fn piece_head(mut file: impl Read) -> io::Result<Option<(LogStream, u32)>> {
    let mut head = [0; PIECE_HEAD as usize];
    match file.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [mark, size @ ..] = head;
    let stream = match mark {
        STDOUT => LogStream::Stdout,
        STDERR => LogStream::Stderr,
        _ => return Ok(None),
    };
    Ok(Some((stream, u32::from_le_bytes(size))))
}

pub(super) fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("log-{number}"))
}

/// The files that there are, the oldest first.
pub(super) fn numbers(directory: &Path) -> io::Result<Vec<u32>> {
    let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("log-")?.parse().ok();
    let mut numbers: Vec<_> = entries(directory)?.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(directory: &Path) -> Spool {
        Spool::new(directory.to_owned())
    }

    fn out(offset: u64, data: &'static str) -> (LogStream, u64, Bytes) {
        (LogStream::Stdout, offset, Bytes::from(data))
    }

    fn err(offset: u64, data: &'static str) -> (LogStream, u64, Bytes) {
        (LogStream::Stderr, offset, Bytes::from(data))
    }

    #[test]
    fn what_comes_again_is_taken_once_and_a_gap_is_refused() {
        let scratch = tempfile::tempdir().expect("a directory");
        let log = spool(scratch.path());
        assert_eq!(log.offsets().expect("open"), Offsets::default());
        let offsets = log.append(&[out(0, "abc"), err(0, "x"), out(2, "cde"), out(1, "bc")]).expect("appended");
        assert_eq!(offsets, Offsets { stdout: 5, stderr: 1 });
        assert!(log.append(&[err(2, "z")]).is_err());
        assert_eq!(log.offsets().expect("read anew"), offsets);
        let again = spool(scratch.path());
        assert_eq!(again.offsets().expect("read"), offsets);
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut() {
        let scratch = tempfile::tempdir().expect("a directory");
        spool(scratch.path()).append(&[out(0, "abc")]).expect("appended");
        let first = fs::metadata(path(scratch.path(), 0)).expect("metadata").len();
        spool(scratch.path()).append(&[err(0, "xyz")]).expect("appended");
        let whole = fs::read(path(scratch.path(), 0)).expect("read");
        for end in 0..whole.len() {
            fs::write(path(scratch.path(), 0), &whole[..end]).expect("written");
            let stdout = if end as u64 >= first { 3 } else { 0 };
            let log = spool(scratch.path());
            assert_eq!(log.offsets().expect("open"), Offsets { stdout, stderr: 0 }, "cut at {end}");
            let offsets = log.append(&[err(0, "x")]).expect("appended");
            assert_eq!(spool(scratch.path()).offsets().expect("open"), offsets, "cut at {end}");
        }
    }

    #[test]
    fn what_is_cut_is_counted() {
        let scratch = tempfile::tempdir().expect("a directory");
        let log = spool(scratch.path());
        log.append(&[out(0, "abc"), err(0, "x")]).expect("appended");
        for _ in 0..2 {
            log.cut(Offsets { stdout: 100, stderr: 0 }).expect("cut");
            let offsets = Offsets { stdout: 100, stderr: 1 };
            assert_eq!(
                (log.offsets().expect("open"), spool(scratch.path()).offsets().expect("read")),
                (offsets, offsets)
            );
        }
        assert_eq!(numbers(scratch.path()).expect("listed"), [0, 1]);
        assert_eq!(log.append(&[out(98, "..d")]).expect("appended"), Offsets { stdout: 101, stderr: 1 });
    }

    #[test]
    fn a_long_log_loses_its_beginning_and_keeps_its_offsets() {
        let scratch = tempfile::tempdir().expect("a directory");
        let log = spool(scratch.path());
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let mut offset = 0;
        for _ in 0..100 {
            log.append(&[(LogStream::Stdout, offset, piece.clone())]).expect("appended");
            offset += 1 << 20;
        }
        let there = numbers(scratch.path()).expect("listed");
        assert!(there.len() <= FILES as usize && !there.contains(&0), "{there:?}");
        let kept: u64 = there.iter().map(|n| fs::metadata(path(scratch.path(), *n)).expect("there").len()).sum();
        assert!(kept > u64::from(FILES - 1) * FILE_LIMIT && kept < u64::from(FILES + 1) * FILE_LIMIT, "{kept}");
        assert_eq!(spool(scratch.path()).offsets().expect("open").stdout, offset);
    }
}
