//! The files of a run, from the agent's frames to the master's chunks.

use bytes::Bytes;
use shared::proto::file_frame::Content;
use shared::proto::seed::FileChunk;
use tonic::Status;

use super::ledger::Record;
use crate::clock;

/// Makes chunks of frames. The first generation counts on being told which chunk is the last of its file, and which file
/// is the last; so the last chunk of a file waits here until it is known what follows. An empty file is one empty chunk.
#[derive(Debug)]
pub(super) struct Chunks {
    /// Everything but the file.
    head: FileChunk,
    /// The file that is being read, and how many of its bytes are still to come.
    open: Option<(String, u64)>,
    /// Ends its file.
    held: Option<FileChunk>,
    names: Vec<String>,
    bytes: u64,
}

impl Chunks {
    pub(super) fn of(record: &Record) -> Self {
        let head = FileChunk {
            task_id: record.wire_id.clone(),
            user_id: record.user_id.clone(),
            task_name: record.task_name.clone(),
            timestamp: clock::wall().0 / 1000,
            ..FileChunk::default()
        };
        Self { head, open: None, held: None, names: Vec::new(), bytes: 0 }
    }

    /// Takes a frame; returns the chunk that can be sent now. Frames come from the disk of this machine by way of its
    /// memory, so their digests are the business of nobody here.
    pub(super) fn take(&mut self, content: Content) -> Result<Option<FileChunk>, Status> {
        match (content, self.open.take()) {
            (Content::Begin(begin), None) => {
                let name = text(&begin.path);
                let before = self.held.take();
                if begin.size == 0 {
                    self.held = Some(self.chunk(&name, Bytes::new(), true));
                }
                self.names.push(name.clone());
                self.open = Some((name, begin.size));
                Ok(before)
            }
            (Content::Data(data), Some((name, left))) => {
                let size = data.len() as u64;
                let left = left.checked_sub(size).ok_or_else(|| Status::invalid_argument("a file is too long"))?;
                self.bytes += size;
                let chunk = self.chunk(&name, data, left == 0);
                self.open = Some((name, left));
                if left > 0 {
                    return Ok(Some(chunk));
                }
                self.held = Some(chunk);
                Ok(None)
            }
            (Content::End(_), Some((_, 0))) => Ok(None),
            _ => Err(Status::invalid_argument("these frames make no files")),
        }
    }

    /// The last chunk of all, the names of the files and their bytes.
    pub(super) fn finish(mut self) -> Result<(Option<FileChunk>, Vec<String>, u64), Status> {
        if self.open.is_some() {
            return Err(Status::invalid_argument("the stream ended within a file"));
        }
        let last = self.held.take().map(|chunk| FileChunk { is_last_file: true, ..chunk });
        Ok((last, self.names, self.bytes))
    }

    fn chunk(&self, name: &str, data: Bytes, is_last_chunk: bool) -> FileChunk {
        FileChunk { file_path: name.to_owned(), data, is_last_chunk, ..self.head.clone() }
    }
}

/// The protocol has texts for paths: bytes that are none are written as `\xff`.
fn text(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use shared::proto::{FileBegin, FileEnd};

    use super::super::task::tests::record;
    use super::*;

    fn begin(path: &'static [u8], size: u64) -> Content {
        Content::Begin(FileBegin { path: Bytes::from_static(path), size, executable: false })
    }

    fn data(text: &'static str) -> Content {
        Content::Data(Bytes::from(text))
    }

    fn end() -> Content {
        Content::End(FileEnd::default())
    }

    /// Path, data, last chunk, last file.
    fn chunks(frames: Vec<Content>) -> Result<Vec<(String, String, bool, bool)>, Status> {
        let mut chunks = Chunks::of(&record("their-7"));
        let mut sent = Vec::new();
        for frame in frames {
            sent.extend(chunks.take(frame)?);
        }
        let (last, names, bytes) = chunks.finish()?;
        sent.extend(last);
        assert_eq!(bytes, sent.iter().map(|chunk| chunk.data.len() as u64).sum::<u64>());
        assert!(names.iter().all(|name| sent.iter().any(|chunk| chunk.file_path == *name)), "{names:?}");
        let simple = |chunk: FileChunk| {
            assert_eq!((chunk.task_id.as_str(), chunk.user_id.as_str()), ("their-7", "ada"));
            let data = String::from_utf8_lossy(&chunk.data).into_owned();
            (chunk.file_path, data, chunk.is_last_chunk, chunk.is_last_file)
        };
        Ok(sent.into_iter().map(simple).collect())
    }

    #[test]
    fn the_last_chunk_of_each_file_and_of_all_is_marked() {
        let frames = vec![
            begin(b"empty", 0),
            end(),
            begin(b"a/b", 3),
            data("ab"),
            data("c"),
            end(),
            begin(b"\xff", 1),
            data("x"),
            end(),
        ];
        let expected = [
            ("empty", "", true, false),
            ("a/b", "ab", false, false),
            ("a/b", "c", true, false),
            ("\\xff", "x", true, true),
        ];
        let expected = expected.map(|(path, data, chunk, file)| (path.to_owned(), data.to_owned(), chunk, file));
        assert_eq!(chunks(frames).expect("files"), expected);
        let only = chunks(vec![begin(b"empty", 0), end()]).expect("a file");
        assert_eq!(only, [("empty".to_owned(), String::new(), true, true)]);
        assert_eq!(chunks(Vec::new()).expect("no files"), []);
    }

    #[test]
    fn frames_that_make_no_files_are_refused() {
        for frames in [
            vec![data("x")],
            vec![end()],
            vec![begin(b"a", 1), end()],
            vec![begin(b"a", 1), data("xy")],
            vec![begin(b"a", 1), begin(b"b", 1)],
            vec![begin(b"a", 1), data("x")],
            vec![begin(b"a", 2), data("x")],
        ] {
            assert!(chunks(frames.clone()).is_err(), "{frames:?}");
        }
    }
}
