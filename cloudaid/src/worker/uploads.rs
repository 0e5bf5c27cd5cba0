//! Bringing to the master what containers left in /output: in one call all files of a run that its user has room for, or none.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cloudaid_core::agent::AgentInput;
use cloudaid_core::files::FileUsage;
use shared::id::AttemptKey;
use shared::link::{CHUNK_LIMIT, ROOM_BYTES, ROOM_FILES};
use shared::proto::file_frame::Content;
use shared::proto::{FileBegin, FileEnd, FileFrame};
use shared::resources::Bytes as Size;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::link::dial::{Uplink, describe_status};
use super::outputs::{self, OutputFile, Outputs};
use crate::pause::Pauses;

/// Uploads at a time: more would only share the same network.
const UPLOADS: usize = 4;
/// Chunks between the disk and the network.
const FRAMES_LIMIT: usize = 4;
/// How often a disk that fails, or a file that changes while it is read, is tried.
const READ_TRIES: u32 = 3;
/// The most bytes of notes: they go with the report, and not as files.
const NOTES_LIMIT: usize = 16 * 1024;

/// Uploads of all runs.
#[derive(Debug)]
pub(super) struct Uploads {
    uplink: watch::Receiver<Option<Uplink>>,
    slots: Semaphore,
}

/// Why an upload did not succeed.
#[derive(Debug)]
enum Broken {
    /// The link, or a master that is not ready.
    Again(String),
    /// This machine's disk.
    Read(io::Error),
    /// The master has room for this, and not for all.
    NoRoom(FileUsage),
    /// Trying again does not help.
    Never(String),
}

impl Uploads {
    pub(super) fn new(uplink: watch::Receiver<Option<Uplink>>) -> Self {
        Self { uplink, slots: Semaphore::new(UPLOADS) }
    }

    /// Returns when the files are at the master, or never will be.
    pub(super) async fn upload(&self, key: AttemptKey, root: PathBuf) -> AgentInput {
        // One look at one name: not worth a thread.
        if std::fs::symlink_metadata(&root).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return AgentInput::OutputsUploaded { key, files: 0, notes: Vec::new() };
        }
        let walked = tokio::task::spawn_blocking({
            let root = root.clone();
            move || outputs::walk(&root)
        });
        let Outputs { files, notes } = match walked.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(outputs) => outputs,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Outputs { files: Vec::new(), notes: Vec::new() },
            Err(error) => return AgentInput::UploadFailed(key, format!("the output cannot be read: {error}")),
        };
        if files.is_empty() {
            return AgentInput::OutputsUploaded { key, files: 0, notes: bounded(notes) };
        }
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        match self.upload_files(key, Arc::new(root), files.into()).await {
            Ok((files, skipped)) => {
                let notes = bounded(notes.into_iter().chain(skipped).collect());
                AgentInput::OutputsUploaded { key, files, notes }
            }
            Err(reason) => {
                tracing::warn!(task = %key, reason, "Output files are not collected");
                AgentInput::UploadFailed(key, format!("the output files were not collected: {reason}"))
            }
        }
    }

    async fn upload_files(
        &self,
        key: AttemptKey,
        root: Arc<PathBuf>,
        mut files: Arc<[OutputFile]>,
    ) -> Result<(u32, Vec<String>), String> {
        let mut pauses = Pauses::default();
        let (mut reads, mut left_out) = (0, Vec::new());
        loop {
            let Some(uplink) = self.wait_for_uplink().await else { return Err("the worker stops".to_owned()) };
            match try_upload(uplink, key, Arc::clone(&root), Arc::clone(&files)).await {
                Ok((count, skipped)) => return Ok((count, left_out.into_iter().chain(skipped).collect())),
                Err(Broken::NoRoom(room)) => {
                    let (kept, notes) = choose(&files, room);
                    // Where there is room by now, the next try will show it.
                    if !notes.is_empty() {
                        let count = notes.len();
                        tracing::warn!(task = %key, files = count, "Output files are left out: their user may keep no more");
                        (files, left_out) = (kept.into(), left_out.into_iter().chain(notes).collect());
                    }
                    if files.is_empty() {
                        return Ok((0, left_out));
                    }
                }
                Err(Broken::Never(reason)) => return Err(reason),
                Err(Broken::Read(error)) if reads + 1 >= READ_TRIES => return Err(error.to_string()),
                Err(Broken::Read(error)) => {
                    reads += 1;
                    tracing::warn!(task = %key, %error, "An output file cannot be read; trying again");
                }
                Err(Broken::Again(reason)) => {
                    tracing::debug!(task = %key, reason, "Output files wait for the master");
                }
            }
            tokio::time::sleep(pauses.next()).await;
        }
    }

    async fn wait_for_uplink(&self) -> Option<Uplink> {
        let mut uplink = self.uplink.clone();
        let found = uplink.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }
}

async fn try_upload(
    mut uplink: Uplink,
    key: AttemptKey,
    root: Arc<PathBuf>,
    files: Arc<[OutputFile]>,
) -> Result<(u32, Vec<String>), Broken> {
    let (frames, outbound) = mpsc::channel(FRAMES_LIMIT);
    // Held until all has been read, so that a failed read breaks the call off instead of ending it early.
    let complete = frames.clone();
    let feeder = tokio::task::spawn_blocking(move || feed(&frames, key, &root, &files));
    let feed = async {
        let fed = feeder.await.map_err(io::Error::other).flatten();
        fed.inspect(|_| drop(complete)).map_err(Broken::Read)
    };
    let call = async {
        let receipt = uplink.client.upload_task_files(ReceiverStream::new(outbound)).await;
        receipt.map_err(|status| refused(&status))
    };
    let closed = async {
        uplink.closed.cancelled().await;
        Err(Broken::Again("the session ended".to_owned()))
    };
    tokio::select! {
        done = async { tokio::try_join!(call, feed) } => {
            let (receipt, skipped) = done?;
            Ok((receipt.into_inner().files, skipped))
        }
        ended = closed => ended,
    }
}

/// Reads all files into frames; returns notes on those that cannot be opened. Stops quietly when nobody listens any
/// more: the call itself knows why.
fn feed(
    frames: &mpsc::Sender<FileFrame>,
    key: AttemptKey,
    root: &Path,
    files: &[OutputFile],
) -> io::Result<Vec<String>> {
    let send = |content| frames.blocking_send(FileFrame { content: Some(content) }).is_ok();
    let mut skipped = Vec::new();
    if !send(Content::Attempt(key.into())) {
        return Ok(skipped);
    }
    for file in files {
        let opened = outputs::open(root, &file.path).and_then(|opened| {
            let size = opened.metadata()?.len();
            Ok((opened, size))
        });
        let (opened, size) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                skipped.push(format!("{}: {error}", String::from_utf8_lossy(&file.path).escape_debug()));
                continue;
            }
        };
        if !send(Content::Begin(FileBegin { path: Bytes::from(file.path.clone()), size, executable: false })) {
            return Ok(skipped);
        }
        match read(opened, size, |data| send(Content::Data(data)))? {
            Some(hash) if send(Content::End(FileEnd { blake3: Bytes::copy_from_slice(hash.as_bytes()) })) => {}
            Some(_) | None => return Ok(skipped),
        }
    }
    Ok(skipped)
}

/// Reads exactly `size` bytes; none if `send` did not want them all.
fn read(mut file: impl Read, size: u64, send: impl Fn(Bytes) -> bool) -> io::Result<Option<blake3::Hash>> {
    let mut hasher = blake3::Hasher::new();
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_LIMIT);
        let mut chunk = vec![0; length];
        // Fails if the file has become shorter.
        file.read_exact(&mut chunk)?;
        hasher.update(&chunk);
        left -= length as u64;
        if !send(chunk.into()) {
            return Ok(None);
        }
    }
    Ok(Some(hasher.finalize()))
}

/// What the master says about this run or these files stays so; everything else may pass.
fn refused(status: &Status) -> Broken {
    let reason = describe_status(status);
    if let Some(room) = room(status).filter(|_| status.code() == Code::ResourceExhausted) {
        return Broken::NoRoom(room);
    }
    match status.code() {
        Code::FailedPrecondition
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unimplemented => Broken::Never(reason),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => Broken::Again(reason),
    }
}

/// What the master has room for, if it says so.
fn room(status: &Status) -> Option<FileUsage> {
    let number = |name| status.metadata().get(name)?.to_str().ok()?.parse().ok();
    Some(FileUsage { bytes: number(ROOM_BYTES)?, files: number(ROOM_FILES)? })
}

/// The files that there is room for, in their order, and notes on the others.
fn choose(files: &[OutputFile], room: FileUsage) -> (Vec<OutputFile>, Vec<String>) {
    let (mut used, mut kept, mut notes, mut more_notes) = (FileUsage::default(), Vec::new(), Vec::new(), 0);
    for file in files {
        let more = used.plus(FileUsage { bytes: file.size, files: 1 });
        if more.fits(room) {
            used = more;
            kept.push(file.clone());
        } else if notes.len() >= outputs::NOTE_LIMIT {
            more_notes += 1;
        } else {
            let path = String::from_utf8_lossy(&file.path);
            let (path, size) = (path.escape_debug(), Size(file.size));
            notes.push(format!(
                "skipped file for which its user has no room: {path}, {size} of {} free",
                Size(room.bytes)
            ));
        }
    }
    if more_notes > 0 {
        notes.push(format!("and {more_notes} more for which there is no room"));
    }
    (kept, notes)
}

fn bounded(notes: Vec<String>) -> Vec<String> {
    let mut bytes = 0;
    let all = notes.len();
    let mut kept: Vec<_> = notes
        .into_iter()
        .take_while(|note| {
            bytes += note.len();
            bytes <= NOTES_LIMIT
        })
        .collect();
    if kept.len() < all {
        kept.push(format!("and {} more", all - kept.len()));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AttemptKey {
        let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
        AttemptKey { task, index: 0, attempt: 1, fence: shared::id::Fence(1) }
    }

    #[test]
    fn files_become_frames_with_their_digest() {
        let scratch = tempfile::tempdir().expect("a directory");
        std::fs::write(scratch.path().join("a"), b"data").expect("written");
        std::fs::write(scratch.path().join("empty"), b"").expect("written");
        let files = [("a", 4), ("gone", 1), ("empty", 0)]
            .map(|(path, size)| OutputFile { path: path.as_bytes().to_vec(), size });
        let (frames, mut outbound) = mpsc::channel(100);
        let skipped = feed(&frames, key(), scratch.path(), &files).expect("read");
        assert!(skipped.len() == 1 && skipped[0].starts_with("gone: "), "{skipped:?}");
        drop(frames);
        let mut contents = Vec::new();
        while let Some(frame) = outbound.blocking_recv() {
            contents.push(frame.content.expect("content"));
        }
        let end = |data: &[u8]| Content::End(FileEnd { blake3: Bytes::copy_from_slice(blake3::hash(data).as_bytes()) });
        let begin =
            |path: &'static str, size| Content::Begin(FileBegin { path: Bytes::from(path), size, executable: false });
        assert_eq!(
            contents,
            [
                Content::Attempt(key().into()),
                begin("a", 4),
                Content::Data(Bytes::from("data")),
                end(b"data"),
                begin("empty", 0),
                end(b""),
            ]
        );
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error_and_a_longer_one_is_cut() {
        assert!(read(&b"abc"[..], 4, |_| true).is_err());
        assert_eq!(read(&b"abcd"[..], 3, |_| true).expect("read"), Some(blake3::hash(b"abc")));
        assert_eq!(read(&b"abcd"[..], 3, |_| false).expect("read"), None);
    }

    #[test]
    fn what_there_is_room_for_is_kept_and_the_rest_is_named() {
        let file = |path: &str, size| OutputFile { path: path.as_bytes().to_vec(), size };
        let files = [file("a", 3), file("huge", 1 << 40), file("z", 4)];
        let (kept, notes) = choose(&files, FileUsage { bytes: 10, files: 5 });
        assert_eq!(kept, [file("a", 3), file("z", 4)]);
        assert_eq!(notes, ["skipped file for which its user has no room: huge, 1 TiB of 10 B free"]);
        assert_eq!(choose(&files, FileUsage { bytes: 10, files: 1 }).0, [file("a", 3)]);
        assert!(choose(&files[..1], FileUsage { bytes: 3, files: 1 }).1.is_empty());
    }

    #[test]
    fn notes_have_a_bound() {
        let notes = bounded(vec!["x".repeat(NOTES_LIMIT / 2); 5]);
        assert_eq!(notes.len(), 3);
        assert_eq!(notes[2], "and 3 more");
        assert_eq!(bounded(vec!["a".to_owned()]), ["a"]);
    }
}
