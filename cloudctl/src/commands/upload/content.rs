//! Reading files while they are sent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

use super::changed;
use super::collect::LocalFile;
use crate::exit::CtlError;

/// How much is read at a time, and how many pieces wait for the network.
const PIECE: usize = 256 * 1024;
const WAITING: usize = 4;

/// Where pieces go that are to be sent.
pub(super) type Sink = mpsc::Sender<io::Result<Bytes>>;

/// A body that is made while it is sent, and where to put it.
pub(super) fn body() -> (Sink, reqwest::Body) {
    let (sink, pieces) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    let stream = stream::unfold(pieces, async |mut pieces| pieces.recv().await.map(|piece| (piece, pieces)));
    (sink, reqwest::Body::wrap_stream(stream))
}

/// Opens it without waiting, if it is still a file.
fn open(local: &LocalFile) -> Result<File, CtlError> {
    let failed = || CtlError::local(format!("cannot read {}", local.source.display()));
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits();
    let flags = i32::try_from(flags).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&local.source).map_err(failed())?;
    let metadata = file.metadata().map_err(failed())?;
    if metadata.is_file() && metadata.len() == local.size { Ok(file) } else { Err(changed(local)) }
}

/// What is known of the begin of a file.
#[derive(Debug, Default)]
pub(super) struct Hashed {
    hasher: blake3::Hasher,
    upto: u64,
}

impl Hashed {
    /// Of all of the file.
    pub(super) fn digest_of(&self, local: &LocalFile) -> Result<blake3::Hash, CtlError> {
        if self.upto == local.size { Ok(self.hasher.finalize()) } else { digest(local) }
    }
}

/// Reads the file and sends what comes from `offset` on; false: nobody takes it any more. Bytes that were not hashed before
/// are, so that trying again costs nothing.
pub(super) fn feed(local: &LocalFile, offset: u64, hashed: &mut Hashed, sink: &Sink) -> Result<bool, CtlError> {
    let failed = || CtlError::local(format!("cannot read {}", local.source.display()));
    let mut file = open(local)?;
    let mut at = offset.min(hashed.upto);
    file.seek(SeekFrom::Start(at)).map_err(failed())?;
    while at < local.size {
        let end = if at < offset { offset } else { local.size };
        let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; length];
        file.read_exact(&mut piece).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => changed(local),
            _ => failed()(error),
        })?;
        let next = at + length as u64;
        if next > hashed.upto {
            let known = usize::try_from(hashed.upto.saturating_sub(at)).unwrap_or(length);
            hashed.hasher.update(&piece[known..]);
            hashed.upto = next;
        }
        let is_to_send = at >= offset;
        at = next;
        if is_to_send && sink.blocking_send(Ok(piece.into())).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Of all of a file.
pub(super) fn digest(local: &LocalFile) -> Result<blake3::Hash, CtlError> {
    let mut hasher = blake3::Hasher::new();
    let failed = CtlError::local(format!("cannot read {}", local.source.display()));
    hasher.update_reader(open(local)?).map_err(failed)?;
    if fs::metadata(&local.source).is_ok_and(|metadata| metadata.len() == local.size) {
        Ok(hasher.finalize())
    } else {
        Err(changed(local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(local: &LocalFile, offset: u64, hashed: &mut Hashed) -> Vec<u8> {
        let (sink, mut pieces) = mpsc::channel(100);
        assert!(feed(local, offset, hashed, &sink).expect("read"));
        drop(sink);
        let mut all = Vec::new();
        while let Some(piece) = pieces.blocking_recv() {
            all.extend_from_slice(&piece.expect("a piece"));
        }
        all
    }

    #[test]
    fn whatever_the_offset_the_digest_is_of_all_of_it() {
        let home = tempfile::tempdir().expect("a directory");
        let source = home.path().join("f");
        let content: Vec<u8> = (0..2 * PIECE + 7).map(|at| (at % 251) as u8).collect();
        fs::write(&source, &content).expect("written");
        let local = LocalFile { source, size: content.len() as u64, executable: false };
        for offsets in [&[0][..], &[5], &[PIECE + 1, 3], &[0, 7], &[content.len()]] {
            let mut hashed = Hashed::default();
            for offset in offsets {
                assert!(fed(&local, *offset as u64, &mut hashed) == content[*offset..], "from {offset}");
            }
            assert_eq!(hashed.digest_of(&local).expect("read"), blake3::hash(&content), "{offsets:?}");
        }
        fs::write(&local.source, "shorter").expect("written");
        let (sink, _pieces) = mpsc::channel(1);
        assert!(feed(&local, 0, &mut Hashed::default(), &sink).is_err());
    }
}
