//! Uploading files and folders for tasks to read: of `files upload`, and of `task --input`.

mod collect;
mod content;
mod large;
mod small;

use std::collections::BTreeMap;
use std::path::PathBuf;

use shared::error::exit;
use shared::id::InputId;
use shared::resources::Bytes;
use shared::view::{AnnounceRequest, AnnouncedFile, InputFileView, InputView};

use self::collect::{LocalFile, collect};
use super::Session;
use crate::client::with_retries;
use crate::exit::CtlError;
use crate::render::Progress;

/// Files of this size and more go one by one, each from where it was cut off; smaller ones together.
const LARGE: u64 = 8 << 20;
/// From this size on it may take so long that somebody interrupts it.
const LONG: u64 = 64 << 20;

/// How much it is, in words; nothing is sent.
pub(super) fn look(paths: &[PathBuf]) -> Result<String, CtlError> {
    let files = collect(paths)?;
    let count = match files.len() {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    Ok(format!("{count} ({})", Bytes(files.values().map(|file| file.size).sum())))
}

/// Uploads all of it, over broken connections too, or goes on with what an earlier call has begun. Returns what is there
/// then, byte for byte what was read.
pub(super) async fn run(
    paths: &[PathBuf],
    resume: Option<InputId>,
    session: &Session<'_>,
) -> Result<InputView, CtlError> {
    let files = collect(paths)?;
    let view = match resume {
        Some(id) => session.client.input(id).await?,
        None => {
            let notice = |error: &CtlError| session.terminal.warn(format!("{error}; trying again"));
            let request = announcement(&files);
            with_retries(notice, || session.client.announce(&request)).await?
        }
    };
    let id = view.input.input_id;
    if view.input.bytes >= LONG {
        session.terminal.remark(format!("if it is interrupted, `cloudctl files upload --resume {id}` goes on with it"));
    }
    let sent = send(&files, &view, session).await;
    if let Err(error) = &sent
        && error.is_transient()
    {
        let how = "the same call of `cloudctl files upload` goes on where this one ended, with";
        session.terminal.note(format!("{how} `--resume {id}`"));
    }
    sent
}

fn announcement(files: &BTreeMap<Vec<u8>, LocalFile>) -> AnnounceRequest {
    let file = |(path, file): (&Vec<u8>, &LocalFile)| {
        let (path, path_hex) = match std::str::from_utf8(path) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(hex::encode(path))),
        };
        AnnouncedFile { path, path_hex, size: file.size, executable: file.executable }
    };
    AnnounceRequest { files: files.iter().map(file).collect() }
}

/// A file that has still to be sent, or whose content has still to be compared.
struct ToSend<'a> {
    /// In the list of the server.
    number: usize,
    path: &'a [u8],
    local: &'a LocalFile,
    remote: &'a InputFileView,
}

async fn send(
    files: &BTreeMap<Vec<u8>, LocalFile>,
    view: &InputView,
    session: &Session<'_>,
) -> Result<InputView, CtlError> {
    let id = view.input.input_id;
    let all = matched(files, view)?;
    let missing = all.iter().filter(|file| file.remote.blake3.is_none());
    let progress = Progress::new(missing.clone().map(|file| file.local.size - file.remote.received).sum());
    let (large, small): (Vec<_>, Vec<_>) = missing.partition(|file| file.local.size >= LARGE);
    let mut digests = small::send(id, &small, &progress, session).await?;
    for file in large {
        digests.insert(file.number, large::send(id, file, &progress, session).await?);
    }
    drop(progress);
    let view = session.client.input(id).await?;
    // What was sent by an earlier call is read again: it may have changed since.
    for file in matched(files, &view)? {
        let digest = match digests.remove(&file.number) {
            Some(digest) => digest,
            None => content::digest(file.local)?,
        };
        if file.remote.blake3.as_deref() != Some(digest.to_hex().as_str()) {
            return Err(changed(file.local));
        }
    }
    Ok(view)
}

/// Each local file with what the server says of it.
fn matched<'a>(files: &'a BTreeMap<Vec<u8>, LocalFile>, view: &'a InputView) -> Result<Vec<ToSend<'a>>, CtlError> {
    let other = |what: String| {
        let message = format!("{} is of other files: {what}", view.input.input_id);
        CtlError::refused(exit::CONFLICT, message, "leave --resume out to upload them anew")
    };
    if view.files.len() != files.len() {
        return Err(other(format!("it has {}, and here are {}", view.files.len(), files.len())));
    }
    // Both are in the order of their paths.
    let pairs = view.files.iter().zip(files).enumerate();
    let matched = pairs.map(|(number, (remote, (path, local)))| {
        let exact = remote.path_hex.as_deref().map_or_else(|| Ok(remote.path.clone().into_bytes()), hex::decode);
        if exact.ok().as_ref() != Some(path) || remote.size != local.size {
            let shown = String::from_utf8_lossy(path);
            return Err(other(format!("`{}` is not there with {} bytes", shown.escape_debug(), local.size)));
        }
        Ok(ToSend { number, path, local, remote })
    });
    matched.collect()
}

fn changed(file: &LocalFile) -> CtlError {
    let message = format!("{} has changed while it was uploaded", file.source.display());
    CtlError::refused(exit::DATA, message, "upload it again when nobody writes to it")
}
