//! Bringing to the master what containers left in /output: all files of a run that its user has room for, or none. What
//! broke off goes on where it was, and nothing here grows with the number of files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cloudaid_core::agent::AgentInput;
use cloudaid_core::files::FileUsage;
use shared::files_of::{PATH_LIMIT, PLAIN_PATH};
use shared::id::AttemptKey;
use shared::link::CHUNK_LIMIT;
use shared::proto::file_frame::Content;
use shared::proto::{FileBegin, FileEnd, FileFrame, FileReceipt, UploadEnd, UploadOpen, UploadResume, UploadState};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::link::dial::{Uplink, describe_status};
use super::outputs::{self, Walk};
use crate::pause::Pauses;
use crate::upload_chain;

mod choice;
mod holes;
mod unreadable;

use choice::Choice;
use holes::Holes;
use unreadable::Unreadable;

/// Uploads at a time: more would only share the same network.
const UPLOADS: usize = 4;
/// Chunks between the disk and the network.
const FRAMES_LIMIT: usize = 4;
/// How often a disk that does not show what is there is tried.
const READ_TRIES: u32 = 3;
/// The most bytes of notes: they go with the report, and not as files.
const NOTES_LIMIT: usize = 16 * 1024;
/// Bytes of one of them: of a longer one the master takes nothing that comes with it.
const NOTE_LIMIT: usize = 4 * 1024;

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
    /// The file of this path: the disk fails in it, or it has changed while it was read.
    File(Vec<u8>, io::Error),
    /// What has arrived is not what is here: it begins anew.
    Other,
    /// Trying again does not help.
    Never(String),
}

/// What a container has left.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) root: PathBuf,
    /// How many bytes its task may store; none: not known.
    pub(super) storage: Option<u64>,
    /// Where it is kept which of its files are given up: see `unreadable.rs`.
    pub(super) given_up: PathBuf,
}

/// What came of an upload.
struct Uploaded {
    files: u32,
    /// In all of them, as the master has them.
    bytes: u64,
    /// What was left out, and why.
    notes: Vec<String>,
}

impl Uploads {
    pub(super) fn new(uplink: watch::Receiver<Option<Uplink>>) -> Self {
        Self { uplink, slots: Semaphore::new(UPLOADS) }
    }

    /// Returns when the files are at the master, or never will be.
    pub(super) async fn upload(&self, key: AttemptKey, outputs: Outputs) -> AgentInput {
        // One look at one name: not worth a thread.
        if std::fs::symlink_metadata(&outputs.root).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return AgentInput::OutputsUploaded { key, files: 0, bytes: 0, notes: Vec::new() };
        }
        let outputs = Arc::new(outputs);
        let looked = blocking(&outputs, |outputs| look(&outputs.root)).await;
        match looked {
            Ok(Some(notes)) => return AgentInput::OutputsUploaded { key, files: 0, bytes: 0, notes: bounded(notes) },
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return AgentInput::OutputsUploaded { key, files: 0, bytes: 0, notes: Vec::new() };
            }
            Err(error) => return AgentInput::UploadFailed(key, format!("the output cannot be read: {error}")),
        }
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        match self.upload_files(key, outputs).await {
            Ok(Uploaded { files, bytes, notes }) => {
                AgentInput::OutputsUploaded { key, files, bytes, notes: bounded(notes) }
            }
            Err(reason) => {
                tracing::warn!(task = %key, reason, "Output files are not collected");
                AgentInput::UploadFailed(key, format!("the output files were not collected: {reason}"))
            }
        }
    }

    async fn upload_files(&self, key: AttemptKey, outputs: Arc<Outputs>) -> Result<Uploaded, String> {
        let mut pauses = Pauses::default();
        let (mut reads, mut anew) = (0, false);
        let loaded = blocking(&outputs, |outputs| Unreadable::load(&outputs.given_up)).await;
        let mut unreadable = loaded.unwrap_or_else(|error| {
            tracing::warn!(task = %key, %error, "Which output files were given up is not known any more");
            Unreadable::default()
        });
        loop {
            let Some(uplink) = self.wait_for_uplink().await else { return Err("the worker stops".to_owned()) };
            match try_upload(uplink, key, &outputs, &unreadable, anew).await {
                Ok(uploaded) => return Ok(uploaded),
                Err(Broken::Never(reason)) => return Err(reason),
                Err(Broken::Read(error)) if reads + 1 >= READ_TRIES => return Err(error.to_string()),
                Err(Broken::Read(error)) => {
                    reads += 1;
                    tracing::warn!(task = %key, %error, "Output files cannot be read; trying again");
                }
                Err(Broken::File(path, error)) => {
                    let file = outputs::shown(&path);
                    tracing::warn!(task = %key, file, %error, "An output file cannot be read to its end");
                    if !unreadable.add(path, &error) {
                        return Err(format!("very many of them cannot be read to their end, such as {file}: {error}"));
                    }
                    keep(key, &outputs, unreadable.clone()).await;
                }
                Err(Broken::Other) => {
                    tracing::warn!(task = %key, "What the master has of the output files is not what is here: they are sent anew");
                    anew = true;
                    continue;
                }
                Err(Broken::Again(reason)) => {
                    tracing::debug!(task = %key, reason, "Output files wait for the master");
                }
            }
            anew = false;
            tokio::time::sleep(pauses.next()).await;
        }
    }

    async fn wait_for_uplink(&self) -> Option<Uplink> {
        let mut uplink = self.uplink.clone();
        let found = uplink.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }
}

/// Whether there is nothing to upload: then the notes.
fn look(root: &Path) -> io::Result<Option<Vec<String>>> {
    let mut walk = Walk::new(root, PATH_LIMIT)?;
    Ok(walk.next_file()?.is_none().then(|| walk.finish()))
}

/// The longest path that the master takes, in bytes.
fn longest(state: &UploadState) -> usize {
    match state.path_limit {
        0 => PLAIN_PATH,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    }
}

/// Another worker of this run has to pass over the same files, or what has arrived is none of what it has.
async fn keep(key: AttemptKey, outputs: &Arc<Outputs>, unreadable: Unreadable) {
    if let Err(error) = blocking(outputs, move |outputs| unreadable.keep(&outputs.given_up)).await {
        tracing::warn!(task = %key, %error, "Which output files are given up cannot be kept");
    }
}

/// What is left out of all that is there, of which so many files have `arrived`. An upload that ended without us has told nobody
/// what it left out itself: that is counted.
fn all_notes(root: &Path, longest: usize, arrived: u64, unreadable: &Unreadable) -> io::Result<Vec<String>> {
    let mut walk = Walk::new(root, longest)?;
    let mut files = 0u64;
    while walk.next_file()?.is_some() {
        files += 1;
    }
    let given_up = unreadable.notes();
    let unexplained = match files.saturating_sub(arrived).saturating_sub(given_up.len() as u64) {
        0 => None,
        1 => Some("1 file of /output is not among them; why is not known any more".to_owned()),
        more => Some(format!("{more} files of /output are not among them; why is not known any more")),
    };
    // It stands first, where it is never cut off.
    Ok(unexplained.into_iter().chain(walk.finish()).chain(given_up).collect())
}

/// `anew`: not from where an earlier one was.
async fn try_upload(
    uplink: Uplink,
    key: AttemptKey,
    outputs: &Arc<Outputs>,
    unreadable: &Unreadable,
    anew: bool,
) -> Result<Uploaded, Broken> {
    let closed = uplink.closed.clone();
    let tried = async {
        let mut client = uplink.client.clone();
        let state = client.describe_upload(shared::proto::Attempt::from(key)).await;
        let state = state.map_err(|status| refused(&status))?.into_inner();
        if let Some(receipt) = state.ended {
            let (longest, unreadable) = (longest(&state), unreadable.clone());
            let notes =
                move |outputs: &Outputs| all_notes(&outputs.root, longest, u64::from(receipt.files), &unreadable);
            let notes = blocking(outputs, notes).await.map_err(Broken::Read)?;
            return Ok(Uploaded { files: receipt.files, bytes: receipt.bytes, notes });
        }
        send(uplink, key, outputs, unreadable.clone(), (state, anew)).await
    };
    closed.run_until_cancelled(tried).await.unwrap_or_else(|| Err(Broken::Again("the session ended".to_owned())))
}

async fn send(
    mut uplink: Uplink,
    key: AttemptKey,
    outputs: &Arc<Outputs>,
    unreadable: Unreadable,
    (state, anew): (UploadState, bool),
) -> Result<Uploaded, Broken> {
    let (frames, outbound) = mpsc::channel(FRAMES_LIMIT);
    // Held until all has been read, so that a failed read breaks the call off instead of ending it early.
    let complete = frames.clone();
    let feeder = tokio::task::spawn_blocking({
        let outputs = Arc::clone(outputs);
        move || {
            let feed = Feed::new(&frames, &outputs, &unreadable, &state)?;
            if anew { feed.send_all(key) } else { feed.send_the_rest(key, &state) }
        }
    });
    let feed = async {
        let fed = feeder.await.unwrap_or_else(|error| Err(Broken::Read(io::Error::other(error))));
        fed.inspect(|_| drop(complete))
    };
    let call = async {
        let receipt = uplink.client.upload_task_files(ReceiverStream::new(outbound)).await;
        receipt.map_err(|status| refused(&status))
    };
    let (receipt, notes) = tokio::try_join!(call, feed)?;
    let FileReceipt { files, bytes } = receipt.into_inner();
    Ok(Uploaded { files, bytes, notes })
}

/// Reads files into frames. Stops quietly when nobody listens any more: the call itself knows why.
struct Feed<'a> {
    frames: &'a mpsc::Sender<FileFrame>,
    root: &'a Path,
    walk: Walk,
    choice: Choice,
    holes: Holes,
    /// Files that are not tried any more are passed over.
    unreadable: &'a Unreadable,
    /// Files that could not be opened, or not be read to their end.
    skipped: outputs::Notes,
    /// Files that were sent, also by an upload before.
    files: u64,
    chain: [u8; 32],
}

impl<'a> Feed<'a> {
    fn new(
        frames: &'a mpsc::Sender<FileFrame>,
        outputs: &'a Outputs,
        unreadable: &'a Unreadable,
        state: &UploadState,
    ) -> Result<Self, Broken> {
        let room = state.room.map(|room| FileUsage { bytes: room.bytes, files: room.files });
        let root = outputs.root.as_path();
        let walk = Walk::new(root, longest(state)).map_err(Broken::Read)?;
        Ok(Self {
            frames,
            root,
            walk,
            choice: Choice::new(room),
            holes: Holes::new(outputs.storage),
            unreadable,
            skipped: outputs::Notes::default(),
            files: 0,
            chain: upload_chain::START,
        })
    }

    fn send(&self, content: Content) -> bool {
        self.frames.blocking_send(FileFrame { content: Some(content) }).is_ok()
    }

    /// The next file that there is room for, that can be opened and that has not too many holes, with its size now.
    fn next(&mut self) -> Result<Option<(Vec<u8>, File, u64)>, Broken> {
        while let Some(file) = self.walk.next_file().map_err(Broken::Read)? {
            if let Some(note) = self.unreadable.given_up(&file.path) {
                self.skipped.add(note);
                continue;
            }
            if !self.choice.takes(&file) {
                continue;
            }
            let opened = outputs::open(self.root, &file.path).and_then(|opened| {
                let metadata = opened.metadata()?;
                let is_taken = self.holes.take(&file.path, &opened, &metadata)?;
                Ok((opened, metadata.len(), is_taken))
            });
            match opened {
                Ok((opened, size, true)) => return Ok(Some((file.path, opened, size))),
                Ok((_, _, false)) => self.choice.put_back(&file),
                Err(error) => {
                    self.choice.put_back(&file);
                    self.skipped.add(format!("{}: {error}", outputs::shown(&file.path)));
                }
            }
        }
        Ok(None)
    }

    /// One more is there.
    fn count(&mut self, path: &[u8], size: u64) {
        self.files += 1;
        self.chain = upload_chain::extend(self.chain, path, size);
    }

    fn send_all(self, key: AttemptKey) -> Result<Vec<String>, Broken> {
        if self.send(Content::Attempt(key.into())) { self.rest() } else { Ok(self.notes()) }
    }

    /// Passes over what has arrived. If that is not what is here, nothing is sent.
    fn send_the_rest(mut self, key: AttemptKey, state: &UploadState) -> Result<Vec<String>, Broken> {
        if state.files == 0 && state.open.is_none() {
            return self.send_all(key);
        }
        for _ in 0..state.files {
            let (path, _, size) = self.next()?.ok_or(Broken::Other)?;
            self.count(&path, size);
        }
        if self.chain[..] != state.chain {
            return Err(Broken::Other);
        }
        let is_left = |open: &UploadOpen| state.may_leave_open && self.unreadable.given_up(&open.path).is_some();
        let leaves_open = state.open.as_ref().is_some_and(is_left);
        let open = match &state.open {
            None => None,
            // It is passed over where the rest is sent.
            Some(_) if leaves_open => None,
            Some(open) => {
                let is_it = |(path, _, size): &(Vec<u8>, File, u64)| *path == open.path && *size == open.size;
                let (path, opened, size) = self.next()?.filter(is_it).ok_or(Broken::Other)?;
                Some((path, opened, size, open.offset.min(size)))
            }
        };
        let offset = state.open.as_ref().map_or(0, |open| open.offset.min(open.size));
        let resume = UploadResume { files: state.files, chain: state.chain.clone(), offset, leaves_open };
        if !self.send(Content::Attempt(key.into())) || !self.send(Content::Resume(resume)) {
            return Ok(self.notes());
        }
        if let Some((path, opened, size, offset)) = open
            && !self.content(&path, opened, size, offset)?
        {
            return Ok(self.notes());
        }
        self.rest()
    }

    fn rest(mut self) -> Result<Vec<String>, Broken> {
        while let Some((path, opened, size)) = self.next()? {
            let begin = FileBegin { path: Bytes::copy_from_slice(&path), size, executable: false };
            if !self.send(Content::Begin(begin)) || !self.content(&path, opened, size, 0)? {
                return Ok(self.notes());
            }
        }
        // The master takes a stream without it for one that broke off.
        self.send(Content::Last(UploadEnd { files: self.files, chain: Bytes::copy_from_slice(&self.chain) }));
        Ok(self.notes())
    }

    /// Sends bytes from `offset` on and the end. Returns whether somebody wanted all of it.
    fn content(&mut self, path: &[u8], file: File, size: u64, offset: u64) -> Result<bool, Broken> {
        let hash = read(file, size, |start, data| start < offset || self.send(Content::Data(data)))
            .map_err(|error| Broken::File(path.to_vec(), error))?;
        self.count(path, size);
        Ok(hash
            .is_some_and(|hash| self.send(Content::End(FileEnd { blake3: Bytes::copy_from_slice(hash.as_bytes()) }))))
    }

    fn notes(self) -> Vec<String> {
        [self.walk.finish(), self.choice.finish(), self.holes.finish(), self.skipped.finish()].concat()
    }
}

/// Reads exactly `size` bytes in chunks that begin at multiples of [`CHUNK_LIMIT`]; none if `send` did not want them all.
fn read(mut file: impl Read, size: u64, send: impl Fn(u64, Bytes) -> bool) -> io::Result<Option<blake3::Hash>> {
    let mut hasher = blake3::Hasher::new();
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_LIMIT);
        let mut chunk = vec![0; length];
        // Fails if the file has become shorter.
        file.read_exact(&mut chunk)?;
        hasher.update(&chunk);
        if !send(size - left, chunk.into()) {
            return Ok(None);
        }
        left -= length as u64;
    }
    Ok(Some(hasher.finalize()))
}

async fn blocking<T: Send + 'static>(
    outputs: &Arc<Outputs>,
    work: impl FnOnce(&Outputs) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let outputs = Arc::clone(outputs);
    super::inputs::blocking(move || work(&outputs)).await
}

/// What the master says about this run or these files stays so; everything else may pass.
fn refused(status: &Status) -> Broken {
    let reason = describe_status(status);
    match status.code() {
        Code::FailedPrecondition
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::OutOfRange
        | Code::Unimplemented => Broken::Never(reason),
        // There was more room when it began: the next one is told how much there is, and chooses. Or the master has too much to
        // do at the moment, which its port says with the same code.
        Code::ResourceExhausted
        | Code::Ok
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

fn bounded(notes: Vec<String>) -> Vec<String> {
    let mut bytes = 0;
    let all = notes.len();
    let short = |mut note: String| {
        note.truncate(note.floor_char_boundary(NOTE_LIMIT));
        note
    };
    let mut kept: Vec<_> = notes
        .into_iter()
        .map(short)
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
mod tests;
