//! All output files of a task as one stream: tar, which has every name as it is, or zip, which every desktop opens.
//!
//! Nothing is kept in between: a thread reads the files and writes the archive as fast as it is taken away.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use axum::body::Body;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use shared::id::TaskRef;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::master::files::FileStore;
use crate::store::StoredFile;

/// Sent at a time, and pieces that wait for a slow reader.
const PIECE: usize = 256 * 1024;
const WAITING: usize = 4;
/// From this size on a zip entry needs 64 bits.
const LARGE: u64 = u32::MAX as u64;

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Tar,
    Zip,
}

impl std::str::FromStr for Form {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "tar" => Ok(Self::Tar),
            "zip" => Ok(Self::Zip),
            _ => Err("there is no such archive: give tar or zip"),
        }
    }
}

impl Form {
    fn kind(self) -> &'static str {
        match self {
            Self::Tar => "application/x-tar",
            Self::Zip => "application/zip",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::Zip => "zip",
        }
    }
}

/// Streams `files`. Those of an array stand in a folder for each element. What cannot be read breaks the stream off, so
/// that nobody takes a part for the whole.
pub(super) fn answer(store: FileStore, task: TaskRef, is_array: bool, files: Vec<StoredFile>, form: Form) -> Response {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut out = Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE) };
        let written = match form {
            Form::Tar => tar(&store, is_array, &files, &mut out),
            Form::Zip => zip(&store, is_array, &files, &mut out),
        };
        if let Err(error) = written.and_then(|()| out.flush())
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            tracing::error!(%task, %error, "an archive could not be written to its end");
            // A reader that has gone needs no reason.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let headers = [
        (CONTENT_TYPE, form.kind().to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{task}.{}\"", form.suffix())),
        (CONTENT_SECURITY_POLICY, "sandbox".to_owned()),
    ];
    (headers, Body::from_stream(ReceiverStream::new(receiver))).into_response()
}

fn tar(store: &FileStore, is_array: bool, files: &[StoredFile], out: &mut Pieces) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.file.size);
        header.set_mode(0o644);
        header.set_mtime(0);
        let name = name(is_array, file);
        archive.append_data(&mut header, Path::new(OsStr::from_bytes(&name)), open(store, file)?)?;
    }
    archive.finish()
}

fn zip(store: &FileStore, is_array: bool, files: &[StoredFile], out: &mut Pieces) -> io::Result<()> {
    let mut archive = ZipWriter::new_stream(out);
    let mut taken = HashSet::new();
    for file in files {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let options = options.large_file(file.file.size >= LARGE).unix_permissions(0o644);
        let mut name = escaped(&name(is_array, file));
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        archive.start_file(name, options)?;
        io::copy(&mut open(store, file)?, &mut archive)?;
    }
    archive.finish()?;
    Ok(())
}

/// Its content, exactly as long as it was listed.
fn open(store: &FileStore, file: &StoredFile) -> io::Result<impl Read> {
    let content = store.open_file_here(file.element, file.attempt, &file.file)?;
    let found = content.metadata()?.len();
    if found != file.file.size {
        let message = format!("{} has {found} bytes on the disk, {} recorded", file.element, file.file.size);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(content.take(file.file.size))
}

fn name(is_array: bool, file: &StoredFile) -> Vec<u8> {
    let mut name = if is_array { format!("{}/", file.element.index).into_bytes() } else { Vec::new() };
    name.extend(&file.file.path);
    name
}

/// Zip has names in UTF-8: other bytes are written as `%XX`.
fn escaped(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("%{byte:02X}")));
    }
    text
}

/// Gathers what is written into pieces, and waits while nobody takes them.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&data[..taken]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_can_still_be_told_from_others() {
        assert_eq!(escaped("dir/grün".as_bytes()), "dir/grün");
        assert_eq!(escaped(b"a\xff\xfeb"), "a%FF%FEb");
    }

    #[test]
    fn there_are_two_forms() {
        assert_eq!(("tar".parse(), "zip".parse()), (Ok(Form::Tar), Ok(Form::Zip)));
        assert!("rar".parse::<Form>().is_err());
    }
}
