//! The log store as its callers see it.

use std::fs;
use std::io::Write;

use shared::id::{Epoch, Fence, TaskId};
use shared::link::LogStream::{Stderr, Stdout};
use ulid::Ulid;

use super::*;

mod cut;

struct Bench {
    store: LogStore,
    key: AttemptKey,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = LogStore::open(&directory.path().join("logs")).expect("open");
        let key =
            AttemptKey { task: TaskId(Ulid::from_parts(7, 42)), index: 3, attempt: 1, fence: Fence::new(Epoch(1), 1) };
        Self { store, key, directory }
    }

    /// What the next start of the master finds.
    fn reopen(&mut self) {
        self.store = LogStore::open(&self.directory.path().join("logs")).expect("open");
    }

    fn path(&self) -> PathBuf {
        self.store.path(self.key.element(), 1)
    }

    fn piece(&self, stream: LogStream, offset: u64, data: &[u8]) -> LogPiece {
        LogPiece { key: self.key, stream, offset, data: Bytes::copy_from_slice(data) }
    }

    async fn append(&self, stream: LogStream, offset: u64, data: &[u8]) -> Result<LogOffsets, LogRefusal> {
        let mut answers = self.store.append(vec![self.piece(stream, offset, data)]).await;
        assert_eq!(answers.len(), 1);
        answers.remove(0).1
    }

    async fn read(&self, select: impl Into<LogSelect>, offset: u64, limit: usize) -> Bytes {
        self.store.read(self.key.element(), 1, select, offset, limit).await.expect("read")
    }

    async fn tail(&self, count: usize) -> Vec<(LogStream, String)> {
        let lines = self.store.tail_lines(self.key.element(), 1, count).await.expect("tail");
        lines.into_iter().map(|(stream, line)| (stream, String::from_utf8(line).expect("text"))).collect()
    }
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart() {
    let mut bench = Bench::new();
    assert_eq!(bench.store.offsets(&bench.key).await.expect("offsets"), LogOffsets::default());
    assert!(!bench.path().exists(), "asking makes no file");
    bench.append(Stdout, 0, b"one\n").await.expect("appended");
    bench.append(Stderr, 0, b"oops\n").await.expect("appended");
    bench.append(Stdout, 4, b"two\n").await.expect("appended");
    for _ in 0..2 {
        let offsets = bench.store.offsets(&bench.key).await.expect("offsets");
        assert_eq!(offsets, LogOffsets { stdout: 8, stderr: 5 });
        assert_eq!(&bench.read(Stdout, 0, 100).await[..], b"one\ntwo\n");
        assert_eq!(&bench.read(Stderr, 0, 100).await[..], b"oops\n");
        assert_eq!(&bench.read(LogSelect::Both, 0, 100).await[..], b"one\noops\ntwo\n");
        assert_eq!(&bench.read(LogSelect::Both, 2, 4).await[..], b"e\noo");
        assert_eq!(&bench.read(Stdout, 3, 2).await[..], b"\nt");
        assert!(bench.read(Stdout, 8, 100).await.is_empty());
        bench.reopen();
    }
}

#[tokio::test]
async fn duplicates_and_overlaps_are_skipped_and_gaps_refused() {
    let bench = Bench::new();
    bench.append(Stdout, 0, b"abcdef").await.expect("appended");
    let size = fs::metadata(bench.path()).expect("a file").len();
    assert_eq!(bench.append(Stdout, 0, b"abcdef").await.expect("again").stdout, 6);
    assert_eq!(bench.append(Stdout, 2, b"cd").await.expect("a part").stdout, 6);
    assert_eq!(fs::metadata(bench.path()).expect("a file").len(), size, "nothing was written twice");
    assert_eq!(bench.append(Stdout, 4, b"efgh").await.expect("overlap").stdout, 8);
    let gap = bench.append(Stdout, 9, b"x").await.expect_err("a gap");
    assert!(matches!(gap, LogRefusal::Gap { stream: Stdout, offset: 9, end: 8 }), "{gap}");
    assert!(bench.append(Stderr, 1, b"x").await.is_err());
    assert_eq!(&bench.read(Stdout, 0, 100).await[..], b"abcdefgh");
}

#[tokio::test]
async fn one_call_answers_per_run_and_keeps_what_came_before_a_gap() {
    let bench = Bench::new();
    let other = AttemptKey { attempt: 2, ..bench.key };
    let answers = bench
        .store
        .append(vec![
            bench.piece(Stdout, 0, b"a"),
            LogPiece { key: other, ..bench.piece(Stdout, 0, b"other") },
            bench.piece(Stderr, 5, b"gap"),
            bench.piece(Stdout, 1, b"after"),
        ])
        .await;
    assert_eq!(answers.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [bench.key, other]);
    assert!(matches!(answers[0].1, Err(LogRefusal::Gap { .. })));
    assert!(matches!(answers[1].1, Ok(LogOffsets { stdout: 5, stderr: 0 })));
    assert_eq!(bench.store.offsets(&bench.key).await.expect("offsets").stdout, 1);
}

#[tokio::test]
async fn a_torn_tail_is_cut_wherever_it_was_torn() {
    let mut bench = Bench::new();
    bench.append(Stdout, 0, b"kept").await.expect("appended");
    let kept = fs::metadata(bench.path()).expect("a file").len();
    bench.append(Stdout, 4, b"torn off").await.expect("appended");
    let whole = fs::read(bench.path()).expect("the file");
    for cut in kept as usize..whole.len() {
        fs::write(bench.path(), &whole[..cut]).expect("tear");
        bench.reopen();
        assert_eq!(bench.store.offsets(&bench.key).await.expect("offsets").stdout, 4, "cut at {cut}");
        assert_eq!(fs::metadata(bench.path()).expect("a file").len(), kept, "cut at {cut}");
        assert_eq!(bench.append(Stdout, 4, b"again").await.expect("goes on").stdout, 9);
        assert_eq!(&bench.read(Stdout, 0, 100).await[..], b"keptagain");
    }
}

#[tokio::test]
async fn zeroes_and_changed_bytes_at_the_end_are_no_log() {
    let mut bench = Bench::new();
    bench.append(Stdout, 0, b"kept").await.expect("appended");
    let mut file = fs::OpenOptions::new().append(true).open(bench.path()).expect("open");
    file.write_all(&[0; 5000]).expect("a hole as some file systems leave it");
    bench.reopen();
    assert_eq!(&bench.read(Stdout, 0, 100).await[..], b"kept");
    bench.append(Stdout, 4, b" and changed").await.expect("appended");
    let mut bytes = fs::read(bench.path()).expect("the file");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(bench.path(), bytes).expect("write");
    bench.reopen();
    assert_eq!(bench.store.offsets(&bench.key).await.expect("offsets").stdout, 4);
}

#[tokio::test]
async fn any_range_of_a_large_log_is_what_was_written() {
    let mut bench = Bench::new();
    let mut expected = Vec::new();
    let mut pieces = Vec::new();
    for number in 0..400u32 {
        let data = number.to_be_bytes().repeat(500);
        pieces.push(bench.piece(Stdout, expected.len() as u64, &data));
        pieces.push(bench.piece(Stderr, u64::from(number), b"."));
        expected.extend(data);
    }
    bench.store.append(pieces).await.pop().expect("an answer").1.expect("appended");
    for _ in 0..2 {
        for (offset, limit) in [(0, 10), (1_999, 2), (65_536, 70_000), (799_990, 100), (123_457, 1)] {
            let end = expected.len().min(offset + limit);
            assert_eq!(&bench.read(Stdout, offset as u64, limit).await[..], &expected[offset..end], "{offset}");
        }
        assert_eq!(bench.read(Stderr, 17, 1000).await.len(), 383);
        bench.reopen();
    }
}

/// Streams, places and bytes of pieces.
fn bytes(items: &[LogItem]) -> Vec<(LogStream, u64, &[u8])> {
    assert!(items.iter().all(|item| matches!(item, LogItem::Chunk(_))), "nothing is cut: {items:?}");
    let chunks = items.iter().filter_map(|item| match item {
        LogItem::Chunk(chunk) => Some((chunk.stream, chunk.offset, &chunk.data[..])),
        LogItem::Cut(_) => None,
    });
    chunks.collect()
}

#[tokio::test]
async fn followers_get_every_byte_once_from_where_they_ask() {
    let bench = Bench::new();
    bench.append(Stdout, 0, b"abc").await.expect("appended");
    bench.append(Stderr, 0, b"xyz").await.expect("appended");
    let from = LogOffsets { stdout: 1, stderr: 3 };
    let mut chunks = bench.store.chunks_from(bench.key.element(), 1, from).await.expect("follow");
    let first = chunks.next_batch().await.expect("read");
    assert_eq!(bytes(&first), [(Stdout, 1, &b"bc"[..])]);
    assert!(chunks.next_batch().await.expect("read").is_empty());
    let (appended, ()) = tokio::join!(bench.append(Stderr, 3, b"!"), chunks.changed());
    appended.expect("appended");
    let second = chunks.next_batch().await.expect("read");
    assert_eq!(bytes(&second), [(Stderr, 3, &b"!"[..])]);
    assert!(!chunks.is_sealed());
    bench.store.seal(bench.key.element(), 1);
    chunks.changed().await;
    assert!(chunks.is_sealed());
}

#[tokio::test]
async fn one_who_follows_from_before_the_first_byte_waits_for_it() {
    let bench = Bench::new();
    let mut chunks =
        bench.store.chunks_from(bench.key.element(), 1, LogOffsets::default()).await.expect("no file is no error");
    assert!(chunks.next_batch().await.expect("read").is_empty());
    bench.append(Stdout, 0, b"first").await.expect("appended");
    chunks.changed().await;
    assert_eq!(bytes(&chunks.next_batch().await.expect("read")), [(Stdout, 0, &b"first"[..])]);
}

#[tokio::test]
async fn the_last_lines_keep_the_order_of_arrival() {
    let bench = Bench::new();
    assert!(bench.tail(5).await.is_empty());
    bench.append(Stdout, 0, b"one\ntw").await.expect("appended");
    bench.append(Stderr, 0, b"oops\n").await.expect("appended");
    bench.append(Stdout, 6, b"o\n\nno end").await.expect("appended");
    let all = [(Stdout, "one"), (Stderr, "oops"), (Stdout, "two"), (Stdout, ""), (Stdout, "no end")];
    let all = all.map(|(stream, line)| (stream, line.to_owned()));
    for count in 0..=5 {
        assert_eq!(bench.tail(count).await, all[5 - count..]);
    }
    assert_eq!(bench.tail(100).await, all);
    let stderr = bench.store.tail_lines_of(bench.key.element(), 1, LogSelect::One(Stderr), 9).await.expect("tail");
    assert_eq!(stderr, [(Stderr, b"oops".to_vec())]);
}

#[tokio::test]
async fn the_last_lines_of_a_large_log_are_whole() {
    let bench = Bench::new();
    let text: String = (0..40_000).map(|number| format!("line {number}\n")).collect();
    let pieces = text.as_bytes().chunks(1000).enumerate();
    let pieces = pieces.map(|(at, data)| bench.piece(Stdout, at as u64 * 1000, data)).collect();
    bench.store.append(pieces).await.pop().expect("an answer").1.expect("appended");
    for count in [1, 3, 20_000] {
        let expected: Vec<_> = (40_000 - count..40_000).map(|number| (Stdout, format!("line {number}"))).collect();
        assert_eq!(bench.tail(count).await, expected, "{count}");
    }
}

#[tokio::test]
async fn more_logs_than_are_remembered_lose_nothing() {
    let bench = Bench::new();
    let keys: Vec<_> = (0..1_300).map(|index| AttemptKey { index, ..bench.key }).collect();
    let pieces = keys.iter().map(|key| LogPiece { key: *key, ..bench.piece(Stdout, 0, b"x") }).collect();
    assert!(bench.store.append(pieces).await.iter().all(|(_, answer)| answer.is_ok()));
    for key in &keys {
        assert_eq!(bench.store.offsets(key).await.expect("offsets").stdout, 1);
    }
}

#[tokio::test]
async fn the_last_lines_of_both_streams_begin_where_they_begin() {
    let bench = Bench::new();
    bench.append(Stdout, 0, b"a\nb\nc").await.expect("appended");
    bench.append(Stderr, 0, b"x\ny\n").await.expect("appended");
    bench.append(Stdout, 5, b"c\nd").await.expect("appended");
    let begin = async |select, count| {
        let offsets = bench.store.start_of_last(bench.key.element(), 1, select, count).await.expect("found");
        (offsets.stdout, offsets.stderr)
    };
    // In order of their ends: a b x y cc d.
    for (count, expected) in
        [(0, (8, 4)), (1, (7, 4)), (2, (4, 4)), (3, (4, 2)), (5, (2, 0)), (6, (0, 0)), (99, (0, 0))]
    {
        assert_eq!(begin(LogSelect::Both, count).await, expected, "{count} lines");
    }
    assert_eq!(begin(LogSelect::One(Stderr), 1).await, (8, 2));
    assert_eq!(begin(LogSelect::One(Stdout), 2).await, (4, 4));
}

#[tokio::test]
async fn the_last_lines_of_a_long_log_are_found_from_its_end() {
    let bench = Bench::new();
    let mut offset = 0;
    for number in 0..40 {
        let line = format!("{number}{}\n", "x".repeat(20_000));
        bench.append(Stdout, offset, line.as_bytes()).await.expect("appended");
        offset += line.len() as u64;
    }
    let found = bench.store.start_of_last(bench.key.element(), 1, LogSelect::Both, 3).await.expect("found");
    assert_eq!(offset - found.stdout, 3 * 20_003);
    let all = bench.store.start_of_last(bench.key.element(), 1, LogSelect::Both, 100).await.expect("found");
    assert_eq!(all, LogOffsets::default());
}

#[tokio::test]
async fn what_arrived_since_a_time_is_found() {
    let bench = Bench::new();
    let now = || jiff::Timestamp::now().as_millisecond();
    let mut times = Vec::new();
    let piece = "x".repeat(30_000);
    for number in 0..20u64 {
        times.push(now());
        bench
            .append(if number % 2 == 0 { Stdout } else { Stderr }, number / 2 * 30_000, piece.as_bytes())
            .await
            .expect("appended");
        // The next piece arrives later, by the clock that stamps them.
        let arrived = now();
        while now() <= arrived {
            tokio::task::yield_now().await;
        }
    }
    let since = async |time| {
        let found = bench.store.start_since(bench.key.element(), 1, WallTime(time)).await.expect("found");
        (found.stdout / 30_000, found.stderr / 30_000)
    };
    assert_eq!(since(0).await, (0, 0));
    assert_eq!(since(times[1]).await, (1, 0));
    assert_eq!(since(times[14]).await, (7, 7));
    assert_eq!(since(now() + 1000).await, (10, 10));
    let nothing = bench.store.start_since(bench.key.element(), 9, WallTime(0)).await.expect("found");
    assert_eq!(nothing, LogOffsets::default());
}
