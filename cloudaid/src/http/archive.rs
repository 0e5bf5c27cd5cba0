//! All files of a task or an input as one stream: tar, which has every name as it is, or zip, which every desktop opens.
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
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::{StreamReader, SyncIoBridge};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::patient::PATIENCE;
use crate::master::files::{Content, FileStore};

/// Sent at a time, and pieces that wait for a slow reader.
const PIECE: usize = 256 * 1024;
const WAITING: usize = 4;
/// From this size on a zip entry needs 64 bits.
const LARGE: u64 = u32::MAX as u64;
/// The longest name in a zip, in bytes: with all that stands beside it, it must not be more than 65,535.
const NAME_LIMIT: usize = 65_000;

/// What GNU tar calls an entry that is the name of the next one.
const LONG_NAME: &[u8] = b"././@LongLink";

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

/// A file in an archive.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) executable: bool,
    pub(super) content: Content,
}

impl Entry {
    fn mode(&self) -> u32 {
        if self.executable { 0o755 } else { 0o644 }
    }
}

/// What becomes an archive, as it is read.
pub(super) type Entries = BoxStream<'static, io::Result<Entry>>;

/// Streams all entries. What cannot be read breaks the stream off, so that nobody takes a part for the whole.
pub(super) fn answer(store: FileStore, of: &str, entries: Entries, form: Form, seats: impl Send + 'static) -> Response {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let _until_the_end = seats;
        let mut out = Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE) };
        let written = match form {
            Form::Tar => tar(&store, entries, &mut out),
            Form::Zip => zip(&store, entries, &mut out),
        };
        if let Err(error) = written.and_then(|()| out.flush())
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            tracing::error!(%error, "an archive could not be written to its end");
            // A reader that has gone needs no reason.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let headers = [
        (CONTENT_TYPE, form.kind().to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{of}.{}\"", form.suffix())),
        (CONTENT_SECURITY_POLICY, "sandbox".to_owned()),
    ];
    (headers, Body::from_stream(ReceiverStream::new(receiver))).into_response()
}

fn tar(store: &FileStore, mut entries: Entries, out: &mut Pieces) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    while let Some(entry) = next(&mut entries)? {
        let mut header = tar::Header::new_gnu();
        header.set_size(entry.content.size);
        header.set_mode(entry.mode());
        header.set_mtime(0);
        append(&mut archive, &entry.name, header, open(store, &entry)?)?;
    }
    archive.finish()
}

/// Adds a file. A name that its header has no room for stands in an entry in front of it, as GNU tar has it. The crate does
/// the same, but not for all bytes.
fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &[u8],
    mut header: tar::Header,
    content: impl Read,
) -> io::Result<()> {
    let room = header.as_old_mut().name.len();
    match name.get(..room) {
        Some(begin) => {
            let mut long = tar::Header::new_gnu();
            long.as_old_mut().name[..LONG_NAME.len()].copy_from_slice(LONG_NAME);
            long.set_entry_type(tar::EntryType::GNULongName);
            long.set_mode(0o644);
            long.set_mtime(0);
            // With the NUL that ends it.
            long.set_size(name.len() as u64 + 1);
            long.set_cksum();
            archive.append(&long, name.chain(&[0][..]))?;
            header.as_old_mut().name.copy_from_slice(begin);
        }
        None => header.set_path(Path::new(OsStr::from_bytes(name)))?,
    }
    header.set_cksum();
    archive.append(&header, content)
}

fn zip(store: &FileStore, mut entries: Entries, out: &mut Pieces) -> io::Result<()> {
    let mut archive = ZipWriter::new_stream(out);
    let mut taken = HashSet::new();
    while let Some(entry) = next(&mut entries)? {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let options = options.large_file(entry.content.size >= LARGE).unix_permissions(entry.mode());
        let mut name = escaped(&entry.name);
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        archive.start_file(name, options)?;
        io::copy(&mut open(store, &entry)?, &mut archive)?;
    }
    archive.finish()?;
    Ok(())
}

/// Waited for on this thread.
fn next(entries: &mut Entries) -> io::Result<Option<Entry>> {
    tokio::runtime::Handle::current().block_on(entries.try_next())
}

/// Its content, read on this thread.
fn open(store: &FileStore, entry: &Entry) -> io::Result<impl Read> {
    let range = 0..entry.content.size;
    let stream = tokio::runtime::Handle::current().block_on(store.read(entry.content.clone(), range))?;
    Ok(SyncIoBridge::new(StreamReader::new(stream)))
}

/// Zip has names in UTF-8: other bytes are written as `%XX`, and so are backslashes. What is too long for it ends in `~` and
/// the BLAKE3 of the whole.
fn escaped(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        // On Windows it separates folders.
        text.push_str(&chunk.valid().replace('\\', "%5C"));
        text.extend(chunk.invalid().iter().map(|byte| format!("%{byte:02X}")));
    }
    if text.len() > NAME_LIMIT {
        let digest = blake3::hash(name).to_hex();
        text.truncate(text.floor_char_boundary(NAME_LIMIT - digest.len() - 1));
        text.push('~');
        text.push_str(&digest);
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
        let sent = tokio::runtime::Handle::current().block_on(self.sender.send_timeout(Ok(piece.into()), PATIENCE));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_can_still_be_told_from_others() {
        assert_eq!(escaped("dir/grün".as_bytes()), "dir/grün");
        assert_eq!(escaped(b"a\xff\xfeb"), "a%FF%FEb");
        assert_eq!(escaped(br"..\..\evil"), "..%5C..%5Cevil");
    }

    #[test]
    fn a_name_that_zip_has_no_room_for_ends_in_its_digest() {
        let deep = b"d/".repeat(32_000);
        let (long, other) = ([&deep[..], &[b'\xff'; 1000]].concat(), [&deep[..], &[b'\xfe'; 1000]].concat());
        let name = escaped(&long);
        assert!(name.starts_with("d/d/") && name.len() <= NAME_LIMIT, "{}", name.len());
        assert!(name.ends_with(&format!("~{}", blake3::hash(&long).to_hex())), "{name}");
        assert_ne!(escaped(&other), name);
        assert_eq!(escaped(&deep).len(), deep.len());
    }

    #[test]
    fn every_name_that_a_file_can_have_stands_in_an_archive() {
        let longest = [b"d/".repeat(32_767), b"\xff\n".to_vec()].concat();
        assert_eq!(longest.len(), shared::files_of::PATH_LIMIT);
        let names = [b"a\xff".to_vec(), vec![b'n'; 99], vec![b'n'; 100], vec![b'n'; 101], vec![b'\xff'; 255], longest];
        let (mut tar, mut zip) = (tar::Builder::new(Vec::new()), ZipWriter::new_stream(Vec::new()));
        for name in &names {
            let mut header = tar::Header::new_gnu();
            header.set_size(4);
            append(&mut tar, name, header, &b"data"[..]).expect("written");
            zip.start_file(escaped(name), SimpleFileOptions::default()).expect("zip takes it");
        }
        zip.finish().expect("ended");
        let bytes = tar.into_inner().expect("ended");
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries = archive.entries().expect("entries").map(|entry| {
            let mut entry = entry.expect("an entry");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("read");
            assert_eq!(content, b"data");
            entry.path_bytes().into_owned()
        });
        assert!(entries.eq(names), "each is there whole");
    }

    #[test]
    fn there_are_two_forms() {
        assert_eq!(("tar".parse(), "zip".parse()), (Ok(Form::Tar), Ok(Form::Zip)));
        assert!("rar".parse::<Form>().is_err());
    }
}
