//! Finds the lines of a log that match. Reads forwards, a bounded piece of the log at a time, so that neither the largest
//! log nor the longest line takes more memory or time than the smallest.

use std::io;

use regex::bytes::Regex;
use shared::link::LogStream;
use shared::time::WallTime;

use super::frames::Next;
use super::log::Log;
use super::{LogOffsets, LogSelect};

/// A line is looked at in parts of this length if it is longer.
pub const LINE_LIMIT: usize = 64 * 1024;
/// The most of a log that is read for one answer, in bytes.
const READ_AT_ONCE: u64 = 64 * 1024 * 1024;

/// What to look for.
#[derive(Debug, Clone)]
pub struct Search {
    /// In which streams.
    pub select: LogSelect,
    /// What a line has to match.
    pub pattern: Regex,
    /// Where to begin; a line that began before is looked at from there on.
    pub from: LogOffsets,
    /// The most lines.
    pub limit: usize,
}

/// A line that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The stream.
    pub stream: LogStream,
    /// Where in the stream its first byte stands.
    pub offset: u64,
    /// When it ended, or its last piece arrived.
    pub at: WallTime,
    /// The line without its end, or a part of it of [`LINE_LIMIT`].
    pub line: Vec<u8>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// In the order in which the lines ended.
    pub matches: Vec<Match>,
    /// Where to go on; none: nothing was left out.
    pub next: Option<LogOffsets>,
}

pub(super) fn matches(log: &Log, search: &Search) -> io::Result<Found> {
    let select = search.select;
    let wanted = LogStream::ALL.into_iter().filter(|stream| select.takes(*stream));
    let passed = |offsets: LogOffsets| wanted.clone().all(|stream| offsets.of(stream) <= search.from.of(stream));
    let (start, extent) = log.look(|index| index.last_where(passed))?;
    let (end, mut found) = (extent.end(), Found::default());
    let mut frames = extent.read_from(start.position);
    let mut lines = LogStream::ALL.map(|stream| Line::new(stream, search.from.of(stream)));
    let mut read = 0;
    while let Some(next) = frames.next()? {
        let frame = match next {
            Next::Frame(frame) => frame,
            Next::Cut(to) => {
                for line in lines.iter_mut().filter(|line| line.end() < to.of(line.stream)) {
                    line.end_here(search, &mut found.matches);
                    line.begin = to.of(line.stream);
                }
                continue;
            }
        };
        let Some(line) = lines.iter_mut().find(|line| line.stream == frame.stream) else { continue };
        if !select.takes(frame.stream) || frame.end() <= line.end() {
            continue;
        }
        let data = frames.data()?;
        let skip = usize::try_from(line.end().saturating_sub(frame.offset)).unwrap_or(data.len());
        read += data.len() as u64;
        for part in Parts(&data[skip..]) {
            line.push(part, WallTime(frame.at_unix_ms), search, &mut found.matches);
        }
        if found.matches.len() >= search.limit || read >= READ_AT_ONCE {
            // A line that has not ended is looked at again.
            let mut next = LogOffsets::default();
            for line in &lines {
                *next.of_mut(line.stream) = line.begin;
            }
            found.next = next_after(&mut found.matches, search.limit, next);
            return Ok(found);
        }
    }
    for line in &mut lines {
        line.end_here(search, &mut found.matches);
    }
    if found.matches.len() > search.limit {
        let end = end.offsets;
        found.next = next_after(&mut found.matches, search.limit, end);
    }
    Ok(found)
}

/// Cuts what is too much; the next answer begins with the first that was cut of each stream.
fn next_after(matches: &mut Vec<Match>, limit: usize, mut next: LogOffsets) -> Option<LogOffsets> {
    for cut in matches.drain(limit.min(matches.len())..).rev() {
        *next.of_mut(cut.stream) = cut.offset;
    }
    Some(next)
}

/// The beginnings and ends of lines in a piece: each part has at most one line end, at its own end.
struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let limit = self.0.len().min(LINE_LIMIT);
        if limit == 0 {
            return None;
        }
        let at = memchr::memchr(b'\n', &self.0[..limit]).map_or(limit, |at| at + 1);
        let (part, rest) = self.0.split_at(at);
        self.0 = rest;
        Some(part)
    }
}

/// A line of one stream while it is read.
struct Line {
    stream: LogStream,
    begin: u64,
    data: Vec<u8>,
    at: WallTime,
}

impl Line {
    fn new(stream: LogStream, begin: u64) -> Self {
        Self { stream, begin, data: Vec::new(), at: WallTime(0) }
    }

    /// Up to where the stream was read.
    fn end(&self) -> u64 {
        self.begin + self.data.len() as u64
    }

    fn push(&mut self, mut part: &[u8], at: WallTime, search: &Search, matches: &mut Vec<Match>) {
        self.at = at;
        while self.data.len() + part.len() > LINE_LIMIT {
            let (now, later) = part.split_at(LINE_LIMIT - self.data.len());
            self.data.extend_from_slice(now);
            part = later;
            self.end_here(search, matches);
        }
        self.data.extend_from_slice(part);
        if self.data.last() == Some(&b'\n') {
            self.end_here(search, matches);
        }
    }

    fn end_here(&mut self, search: &Search, matches: &mut Vec<Match>) {
        let line = self.data.strip_suffix(b"\n").unwrap_or(&self.data);
        if !self.data.is_empty() && search.pattern.is_match(line) {
            matches.push(Match { stream: self.stream, offset: self.begin, at: self.at, line: line.to_vec() });
        }
        self.begin = self.end();
        self.data.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shared::id::{AttemptKey, Epoch, Fence, TaskId};
    use ulid::Ulid;

    use super::*;
    use crate::master::logs::{LogPiece, LogStore};

    struct Bench {
        store: LogStore,
        key: AttemptKey,
        ends: LogOffsets,
        _directory: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let store = LogStore::open(directory.path()).expect("open");
            let key = AttemptKey { task: TaskId(Ulid::nil()), index: 0, attempt: 1, fence: Fence::new(Epoch(1), 1) };
            Self { store, key, ends: LogOffsets::default(), _directory: directory }
        }

        async fn write(&mut self, stream: LogStream, text: &str) {
            let (offset, data) = (self.ends.of(stream), Bytes::copy_from_slice(text.as_bytes()));
            *self.ends.of_mut(stream) += data.len() as u64;
            let piece = LogPiece { key: self.key, stream, offset, data };
            self.store.append(vec![piece]).await.pop().expect("an answer").1.expect("appended");
        }

        async fn find(&self, pattern: &str, select: LogSelect, from: LogOffsets, limit: usize) -> Found {
            let pattern = Regex::new(pattern).expect("a pattern");
            let search = Search { select, pattern, from, limit };
            self.store.search(self.key.element(), 1, search).await.expect("a search")
        }
    }

    fn lines(found: &Found) -> Vec<(LogStream, u64, String)> {
        let line = |one: &Match| (one.stream, one.offset, String::from_utf8_lossy(&one.line).into_owned());
        found.matches.iter().map(line).collect()
    }

    use LogStream::{Stderr, Stdout};

    #[tokio::test]
    async fn lines_are_found_across_pieces_and_in_both_streams() {
        let mut bench = Bench::new();
        bench.write(Stdout, "one\ntwo err").await;
        bench.write(Stderr, "err: a\n").await;
        bench.write(Stdout, "or\nthree\nlast err").await;
        let found = bench.find("err", LogSelect::Both, LogOffsets::default(), 10).await;
        let expected = [(Stderr, 0, "err: a"), (Stdout, 4, "two error"), (Stdout, 20, "last err")];
        assert_eq!(lines(&found), expected.map(|(stream, offset, line)| (stream, offset, line.to_owned())));
        assert_eq!(found.next, None);
        let one = bench.find("err", LogSelect::One(Stdout), LogOffsets::default(), 10).await;
        assert_eq!(lines(&one).len(), 2);
        assert_eq!(bench.find("^e", LogSelect::Both, LogOffsets::default(), 10).await.matches.len(), 1);
        assert_eq!(bench.find("nothing", LogSelect::Both, LogOffsets::default(), 10).await, Found::default());
    }

    #[tokio::test]
    async fn pages_neither_skip_nor_repeat() {
        let mut bench = Bench::new();
        for number in 0..50 {
            let stream = if number % 3 == 0 { Stderr } else { Stdout };
            bench.write(stream, &format!("line {number}\nother\nline {number}b\nunfini")).await;
        }
        let all = bench.find("line", LogSelect::Both, LogOffsets::default(), 1000).await;
        assert!(all.next.is_none() && all.matches.len() == 100, "{}", all.matches.len());
        for limit in [1, 2, 3, 7, 99] {
            let (mut from, mut paged) = (LogOffsets::default(), Vec::new());
            loop {
                let page = bench.find("line", LogSelect::Both, from, limit).await;
                assert!(page.matches.len() <= limit);
                paged.extend(lines(&page));
                match page.next {
                    Some(next) => from = next,
                    None => break,
                }
            }
            paged.sort();
            let mut expected = lines(&all);
            expected.sort();
            assert_eq!(paged, expected, "{limit}");
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_looked_at_in_parts() {
        let mut bench = Bench::new();
        let long = "x".repeat(LINE_LIMIT * 2);
        bench.write(Stdout, &format!("{long}needle\nnext needle\n")).await;
        let found = bench.find("needle", LogSelect::Both, LogOffsets::default(), 10).await;
        let offsets: Vec<_> = found.matches.iter().map(|one| (one.offset, one.line.len())).collect();
        assert_eq!(offsets, [(2 * LINE_LIMIT as u64, 6), (2 * LINE_LIMIT as u64 + 7, 11)]);
    }

    #[tokio::test]
    async fn what_is_no_text_is_found_too() {
        let mut bench = Bench::new();
        let data = Bytes::from_static(b"a\xff\xfe needle\r\n");
        let piece = LogPiece { key: bench.key, stream: Stdout, offset: 0, data };
        bench.store.append(vec![piece]).await.pop().expect("an answer").1.expect("appended");
        bench.ends.stdout = 12;
        let found = bench.find("needle", LogSelect::Both, LogOffsets::default(), 10).await;
        assert_eq!(found.matches[0].line, b"a\xff\xfe needle\r");
    }
}
