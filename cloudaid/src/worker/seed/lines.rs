//! Reading a spooled log as lines. Each stream is cut into lines for itself, so that no line is torn by the other stream.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use shared::link::LogStream;

use super::spool::{self, FILE_HEAD, Offsets, PIECE_HEAD, Progress};

/// A line that is longer comes in pieces.
const LINE_LIMIT: usize = 64 * 1024;

/// A place in a log, and what of unfinished lines was before it.
#[derive(Debug)]
pub(super) struct Lines {
    directory: PathBuf,
    file: Option<File>,
    number: u32,
    position: u64,
    seen: Offsets,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// A line without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// Whether it ended here: the last line of a log may not, and one that is too long goes on.
    pub(super) whole: bool,
}

impl Lines {
    /// From the first byte that is kept.
    pub(super) fn new(directory: PathBuf) -> Self {
        let (stdout, stderr) = (Vec::new(), Vec::new());
        Self { directory, file: None, number: 0, position: 0, seen: Offsets::default(), stdout, stderr }
    }

    /// Reads the next piece that is there; none if there is none now. Blocks.
    pub(super) fn next(&mut self, progress: Progress) -> io::Result<Option<Vec<Line>>> {
        loop {
            let mut lines = VecDeque::new();
            let Some(mut file) = self.open(progress, &mut lines)? else { return Ok(None) };
            let end = if self.number == progress.file { progress.length } else { u64::MAX };
            let piece = if self.position < end { spool::piece_head(&mut file)? } else { None };
            let Some((stream, size)) = piece else {
                if self.number >= progress.file {
                    self.file = Some(file);
                    return Ok((!lines.is_empty()).then(|| lines.into()));
                }
                // It is complete: the next one.
                self.number += 1;
                if lines.is_empty() { continue } else { return Ok(Some(lines.into())) }
            };
            let mut data = vec![0; size as usize];
            file.read_exact(&mut data)?;
            self.file = Some(file);
            self.position += PIECE_HEAD + u64::from(size);
            self.take(stream, &data, &mut lines);
            return Ok(Some(lines.into()));
        }
    }

    /// The lines that have no end, when nothing more will come.
    pub(super) fn rest(&mut self) -> Vec<Line> {
        let partial = [std::mem::take(&mut self.stdout), std::mem::take(&mut self.stderr)];
        partial.into_iter().filter(|text| !text.is_empty()).map(|text| Line::new(&text, false)).collect()
    }

    /// The file where we are, or the oldest one if ours is gone: who reads slowly, or late, has missed something then.
    fn open(&mut self, progress: Progress, lines: &mut VecDeque<Line>) -> io::Result<Option<File>> {
        if let Some(file) = self.file.take() {
            return Ok(Some(file));
        }
        loop {
            let there = spool::numbers(&self.directory)?;
            let Some(number) = there.into_iter().find(|number| *number >= self.number) else { return Ok(None) };
            if number > progress.file {
                return Ok(None);
            }
            let mut file = match File::open(spool::path(&self.directory, number)) {
                Ok(file) => file,
                // It has gone just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let before = spool::head(&mut file)?;
            let missed =
                before.stdout.saturating_sub(self.seen.stdout) + before.stderr.saturating_sub(self.seen.stderr);
            if missed > 0 {
                lines.extend(self.rest());
                let text = format!("cloudaid: {missed} bytes of this log are not kept here");
                lines.push_back(Line { text, whole: true });
            }
            (self.number, self.position, self.seen) = (number, FILE_HEAD, before);
            return Ok(Some(file));
        }
    }

    fn take(&mut self, stream: LogStream, data: &[u8], lines: &mut VecDeque<Line>) {
        let (partial, seen) = match stream {
            LogStream::Stdout => (&mut self.stdout, &mut self.seen.stdout),
            LogStream::Stderr => (&mut self.stderr, &mut self.seen.stderr),
        };
        *seen += data.len() as u64;
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let (text, whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            partial.extend_from_slice(text);
            while partial.len() > LINE_LIMIT {
                let rest = partial.split_off(LINE_LIMIT);
                lines.push_back(Line::new(&std::mem::replace(partial, rest), false));
            }
            if whole {
                lines.push_back(Line::new(&std::mem::take(partial), true));
            }
        }
    }
}

impl Line {
    /// A container may write any bytes; the protocol takes text.
    fn new(bytes: &[u8], whole: bool) -> Self {
        Self { text: String::from_utf8_lossy(bytes).into_owned(), whole }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::spool::Spool;
    use super::*;

    fn append(spool: &Spool, stream: LogStream, offset: u64, data: &[u8]) {
        spool.append(&[(stream, offset, Bytes::copy_from_slice(data))]).expect("appended");
    }

    fn read(lines: &mut Lines, spool: &Spool) -> Vec<String> {
        let progress = *spool.watch().expect("read").borrow();
        let mut texts = Vec::new();
        while let Some(more) = lines.next(progress).expect("read") {
            texts.extend(more.into_iter().map(|line| line.text));
        }
        texts
    }

    #[test]
    fn each_stream_is_cut_into_its_own_lines_as_they_come() {
        let scratch = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(scratch.path().to_owned());
        let mut lines = Lines::new(scratch.path().to_owned());
        assert_eq!(read(&mut lines, &spool), [""; 0]);
        append(&spool, LogStream::Stdout, 0, b"one\ntw");
        append(&spool, LogStream::Stderr, 0, b"wrong\n\n");
        assert_eq!(read(&mut lines, &spool), ["one", "wrong", ""]);
        append(&spool, LogStream::Stdout, 6, b"o\n\xff last");
        assert_eq!(read(&mut lines, &spool), ["two"]);
        assert_eq!(lines.rest(), [Line { text: "\u{fffd} last".to_owned(), whole: false }]);
        assert_eq!(lines.rest(), []);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let scratch = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(scratch.path().to_owned());
        append(&spool, LogStream::Stdout, 0, &vec![b'x'; 2 * LINE_LIMIT + 1]);
        let mut lines = Lines::new(scratch.path().to_owned());
        let lengths: Vec<_> = read(&mut lines, &spool).iter().map(String::len).collect();
        assert_eq!((lengths, lines.rest()[0].text.len()), (vec![LINE_LIMIT, LINE_LIMIT], 1));
    }

    #[test]
    fn who_comes_late_hears_what_is_missing() {
        let scratch = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(scratch.path().to_owned());
        let (size, mut offset) = (1 << 20, 0);
        let mut early = Lines::new(scratch.path().to_owned());
        for _ in 0..60 {
            append(&spool, LogStream::Stdout, offset, &[&vec![b'x'; size - 1][..], b"\n"].concat());
            offset += size as u64;
            if offset == size as u64 {
                read(&mut early, &spool);
            }
        }
        for mut lines in [early, Lines::new(scratch.path().to_owned())] {
            let already = lines.seen.stdout;
            let texts = read(&mut lines, &spool);
            let (remarks, texts): (Vec<_>, Vec<_>) = texts.into_iter().partition(|text| text.starts_with("cloudaid"));
            let [remark] = &remarks[..] else { panic!("{remarks:?}") };
            let missing: u64 = remark.split(' ').nth(1).and_then(|word| word.parse().ok()).expect(remark);
            // Each line came in pieces, and lost its end.
            let text = texts.iter().map(String::len).sum::<usize>() as u64;
            assert_eq!(missing + text + text.div_ceil(size as u64), offset - already, "{remark}");
        }
    }
}
