//! Logs of which only the beginning and the end are kept.

use futures_util::FutureExt;

use super::*;

mod keep;
mod thin;

/// What is kept of each log here.
const KEPT: u64 = 64 * 1024;
/// And of the beginning and of the end of each stream.
const RESERVED: u64 = KEPT / 16;
/// The most that its files take.
const ON_DISK: u64 = 4 * KEPT + STARTS;
/// What they begin with.
const STARTS: u64 = 12 * frame::START as u64;

impl Bench {
    fn bounded() -> Self {
        let mut bench = Self::new();
        bench.reopen_bounded();
        bench
    }

    fn reopen_bounded(&mut self) {
        self.reopen_keeping(Keep::at_most(KEPT));
    }

    fn reopen_keeping(&mut self, keep: Keep) {
        let directory = self.directory.path().join("logs");
        self.store = LogStore::open_keeping(&directory, keep).expect("open");
    }

    /// Bytes of all files of the log.
    fn on_disk(&self) -> u64 {
        let later = fs::read_dir(self.path().with_extension("later")).into_iter().flatten();
        let later = later.map(|entry| entry.expect("an entry").metadata().expect("metadata").len());
        later.sum::<u64>() + fs::metadata(self.path()).map_or(0, |metadata| metadata.len())
    }

    async fn range(&self, select: impl Into<LogSelect>, offset: u64, limit: u64) -> (Vec<u8>, Vec<LogCut>) {
        let mut range = self.store.range(self.key.element(), 1, select, offset, limit).await.expect("a range");
        let (length, cuts) = (range.len(), range.cuts().to_vec());
        let mut bytes = Vec::new();
        while !range.is_empty() {
            bytes.extend(range.next(7_000).await.expect("bytes"));
        }
        assert_eq!(bytes.len() as u64, length, "as many as were promised");
        (bytes, cuts)
    }

    async fn follow(&self) -> LogChunks {
        self.store.chunks_from(self.key.element(), 1, LogOffsets::default()).await.expect("a follower")
    }
}

/// All that a run wrote, and a generator of more of it.
struct Written {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    seed: u64,
}

impl Written {
    fn new(seed: u64) -> Self {
        Self { stdout: Vec::new(), stderr: Vec::new(), seed }
    }

    fn random(&mut self, below: u64) -> u64 {
        // SplitMix64 of Steele, Lea and Flood: the same in every run.
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    }

    fn of(&mut self, stream: LogStream) -> &mut Vec<u8> {
        match stream {
            Stdout => &mut self.stdout,
            Stderr => &mut self.stderr,
        }
    }

    /// The next piece, and where it stands.
    fn more(&mut self) -> (LogStream, u64, Vec<u8>) {
        let stream = if self.random(4) == 0 { Stderr } else { Stdout };
        let length = 1 + self.random(20_000);
        let data: Vec<u8> = (0..length).map(|_| if self.random(60) == 0 { b'\n' } else { b'a' }).collect();
        let written = self.of(stream);
        let offset = written.len() as u64;
        written.extend(&data);
        (stream, offset, data)
    }

    /// What is left of a stream without what was cut out.
    fn without(&mut self, stream: LogStream, cuts: &[LogCut]) -> Vec<u8> {
        let (mut rest, mut at) = (Vec::new(), 0);
        let place = |offset: u64| usize::try_from(offset).expect("an offset");
        for LogCut { from, to } in cuts {
            rest.extend(&self.of(stream)[at..place(from.of(stream))]);
            at = place(to.of(stream));
        }
        rest.extend(&self.of(stream)[at..]);
        rest
    }
}

#[tokio::test]
async fn what_is_stored_and_what_is_cut_are_what_was_written() {
    for seed in 0..6 {
        let (mut bench, mut written) = (Bench::bounded(), Written::new(seed));
        for step in 0..60 {
            let (stream, offset, data) = written.more();
            let offsets = bench.append(stream, offset, &data).await.expect("appended");
            assert_eq!(offsets.of(stream), offset + data.len() as u64);
            if written.random(8) == 0 {
                bench.reopen_bounded();
            }
            assert!(bench.on_disk() <= ON_DISK, "{} after {step} of {seed}", bench.on_disk());
            let (both, cuts) = bench.range(LogSelect::Both, 0, u64::MAX).await;
            let mut stored = 0;
            for stream in LogStream::ALL {
                let (bytes, same_cuts) = bench.range(stream, 0, u64::MAX).await;
                assert!(bytes == written.without(stream, &cuts), "{stream:?} after {step} of {seed}");
                assert!(same_cuts.iter().all(|cut| cuts.contains(cut)));
                stored += bytes.len();
            }
            assert_eq!(both.len(), stored);
            assert!(stored as u64 <= KEPT, "{stored} after {step} of {seed}");
        }
        let (_, cuts) = bench.range(LogSelect::Both, 0, u64::MAX).await;
        assert_eq!(cuts.len(), 1, "one cut, between the beginning and the end");
        for stream in LogStream::ALL {
            let LogCut { from, to } = cuts[0];
            let end = written.of(stream).len() as u64 - to.of(stream);
            assert!(from.of(stream) >= RESERVED, "{stream:?} of {seed} begins with {}", from.of(stream));
            assert!(end >= RESERVED, "{stream:?} of {seed} ends with {end}");
        }
    }
}

#[tokio::test]
async fn offsets_count_what_was_cut_and_limits_do_not() {
    let (bench, mut written) = (Bench::bounded(), Written::new(9));
    for _ in 0..40 {
        let (stream, offset, data) = written.more();
        bench.append(stream, offset, &data).await.expect("appended");
    }
    let (_, cuts) = bench.range(Stdout, 0, u64::MAX).await;
    let LogCut { from, to } = cuts[0];
    let (from, to) = (from.stdout, to.stdout);
    let at = |offset: u64| usize::try_from(offset).expect("an offset");
    for (offset, expected) in
        [(from - 10, [at(from) - 10..at(from), at(to)..at(to) + 90]), (from + 10, [0..0, at(to)..at(to) + 100])]
    {
        let (bytes, cuts) = bench.range(Stdout, offset, 100).await;
        let expected = expected.map(|range| written.stdout[range].to_vec()).concat();
        assert!(bytes == expected, "from {offset}");
        assert_eq!(cuts.len(), 1, "from {offset}");
    }
    assert_eq!(bench.range(Stdout, to, 100).await, (written.stdout[at(to)..at(to) + 100].to_vec(), Vec::new()));
    assert_eq!(&bench.read(Stdout, from + 1, 50).await[..], &written.stdout[at(to)..at(to) + 50]);
}

#[tokio::test]
async fn a_follower_is_told_what_it_missed() {
    let (bench, mut written) = (Bench::bounded(), Written::new(3));
    let (mut early, mut reached, mut cut) = (bench.follow().await, LogOffsets::default(), LogOffsets::default());
    for step in 0..80 {
        let (stream, offset, data) = written.more();
        bench.append(stream, offset, &data).await.expect("appended");
        // The first falls behind from time to time; another begins at the end.
        if step % 20 != 0 && step != 79 {
            continue;
        }
        loop {
            let batch = early.next_batch().await.expect("read");
            for item in &batch {
                match item {
                    LogItem::Chunk(chunk) => {
                        assert_eq!(chunk.offset, reached.of(chunk.stream));
                        let at = usize::try_from(chunk.offset).expect("an offset");
                        assert!(written.of(chunk.stream)[at..].starts_with(&chunk.data));
                        *reached.of_mut(chunk.stream) += chunk.data.len() as u64;
                    }
                    LogItem::Cut(missed) => {
                        assert_eq!(missed.from, reached);
                        cut.stdout += missed.bytes().stdout;
                        cut.stderr += missed.bytes().stderr;
                        reached = missed.to;
                    }
                }
            }
            if batch.is_empty() {
                break;
            }
        }
    }
    assert_eq!(reached, LogOffsets { stdout: written.stdout.len() as u64, stderr: written.stderr.len() as u64 });
    let (_, cuts) = bench.range(LogSelect::Both, 0, u64::MAX).await;
    let missed_later = cuts[0].bytes();
    assert!(cut.stdout > 0 && cut.stdout < missed_later.stdout, "{cut:?} of {missed_later:?}");
}

#[tokio::test]
async fn a_little_of_one_stream_stays_whatever_the_other_writes() {
    let mut bench = Bench::bounded();
    let large = vec![b'x'; 30_000];
    bench.append(Stdout, 0, &large).await.expect("appended");
    bench.append(Stderr, 0, b"a little").await.expect("appended");
    for at in 1..10 {
        bench.append(Stdout, at * 30_000, &large).await.expect("appended");
    }
    for _ in 0..2 {
        assert_eq!(bench.range(Stderr, 0, u64::MAX).await, (b"a little".to_vec(), Vec::new()));
        let (mut chunks, mut little) = (bench.follow().await, Vec::new());
        loop {
            let batch = chunks.next_batch().await.expect("read");
            if batch.is_empty() {
                break;
            }
            for item in batch {
                match item {
                    LogItem::Chunk(chunk) if chunk.stream == Stderr => little.extend_from_slice(&chunk.data),
                    LogItem::Chunk(_) => {}
                    LogItem::Cut(cut) => assert_eq!(cut.bytes().stderr, 0),
                }
            }
        }
        assert_eq!(little, b"a little");
        bench.reopen_bounded();
    }
}

#[tokio::test]
async fn who_reads_a_range_gets_what_was_promised_although_it_is_cut_meanwhile() {
    let (bench, mut written) = (Bench::bounded(), Written::new(5));
    for _ in 0..10 {
        let (stream, offset, data) = written.more();
        bench.append(stream, offset, &data).await.expect("appended");
    }
    let mut range = bench.store.range(bench.key.element(), 1, Stdout, 0, u64::MAX).await.expect("a range");
    let expected = written.without(Stdout, range.cuts());
    let mut bytes = range.next(10_000).await.expect("bytes").to_vec();
    for _ in 0..40 {
        let (stream, offset, data) = written.more();
        bench.append(stream, offset, &data).await.expect("appended");
    }
    let held = bench.on_disk();
    while !range.is_empty() {
        bytes.extend(range.next(10_000).await.expect("bytes"));
    }
    assert!(bytes == expected);
    drop(range);
    assert!(bench.on_disk() < held, "what was held for the reader is gone");
}

#[tokio::test]
async fn lines_around_a_cut_are_not_joined() {
    let mut bench = Bench::bounded();
    let mut offset = 0;
    for number in 0..3_000 {
        let line = format!("line {number} {}\n", "x".repeat(60));
        bench.append(Stdout, offset, line.as_bytes()).await.expect("appended");
        offset += line.len() as u64;
    }
    let pattern = regex::bytes::Regex::new("^line .*x$").expect("a pattern");
    for _ in 0..2 {
        let (text, cuts) = bench.range(Stdout, 0, u64::MAX).await;
        assert_eq!(cuts.len(), 1);
        let kept = text.iter().filter(|byte| **byte == b'\n').count();
        let all = bench.tail(10_000).await;
        assert!(all.len().abs_diff(kept) <= 1, "{} lines of {kept}", all.len());
        assert!(all.iter().all(|(_, line)| line.matches("line").count() <= 1), "no line is two");
        assert_eq!(bench.tail(1).await[0].1, format!("line 2999 {}", "x".repeat(60)));
        let search =
            Search { select: LogSelect::Both, pattern: pattern.clone(), from: LogOffsets::default(), limit: 10_000 };
        let found = bench.store.search(bench.key.element(), 1, search).await.expect("a search");
        assert!(kept.abs_diff(found.matches.len()) <= 1, "{} found of {kept}", found.matches.len());
        let last = found.matches.last().expect("a match");
        assert_eq!(last.offset + last.line.len() as u64 + 1, offset, "places count what was cut");
        let begin = bench.store.start_of_last(bench.key.element(), 1, LogSelect::Both, 10_000).await.expect("found");
        assert_eq!(begin, LogOffsets::default());
        let late = bench.store.start_of_last(bench.key.element(), 1, LogSelect::Both, 2).await.expect("found");
        assert_eq!(offset - late.stdout, 2 * (11 + 60));
        bench.reopen_bounded();
    }
}

#[tokio::test]
async fn what_a_worker_says_is_nowhere_is_cut_out() {
    for bounded in [false, true] {
        let mut bench = if bounded { Bench::bounded() } else { Bench::new() };
        bench.append(Stdout, 0, b"first\n").await.expect("appended");
        bench.append(Stderr, 0, b"x").await.expect("appended");
        let mut follower = bench.follow().await;
        assert_eq!(follower.next_batch().await.expect("read").len(), 2);
        let from = LogOffsets { stdout: 6, stderr: 1 };
        let to = LogOffsets { stdout: 1000, stderr: 1 };
        for said in [to, to, LogOffsets { stdout: 7, stderr: 0 }] {
            assert_eq!(bench.store.cut(&bench.key, said).await.expect("cut"), to, "it is told again, or of less");
        }
        let cut = LogCut { from, to };
        assert_eq!(follower.next_batch().await.expect("read"), [LogItem::Cut(cut)]);
        bench.reopen();
        let early = bench.append(Stdout, 1001, b"y").await;
        assert!(matches!(early, Err(LogRefusal::Gap { end: 1000, .. })), "{early:?}");
        bench.append(Stdout, 998, b"--last\n").await.expect("it goes on behind it");
        for _ in 0..2 {
            let end = LogOffsets { stdout: 1005, stderr: 1 };
            assert_eq!(bench.store.offsets(&bench.key).await.expect("offsets"), end);
            assert_eq!(bench.range(Stdout, 0, u64::MAX).await, (b"first\nlast\n".to_vec(), vec![cut]));
            assert_eq!(bench.range(Stdout, 1000, u64::MAX).await, (b"last\n".to_vec(), Vec::new()));
            bench.reopen();
        }
    }
}

#[tokio::test]
async fn a_log_may_begin_with_a_cut_and_end_with_one() {
    let mut bench = Bench::new();
    let [begin, end] = [1 << 40, 1 << 50].map(|stdout| LogOffsets { stdout, stderr: 3 });
    assert_eq!(bench.store.cut(&bench.key, begin).await.expect("cut"), begin);
    bench.append(Stdout, 1 << 40, b"middle").await.expect("appended");
    assert_eq!(bench.store.cut(&bench.key, end).await.expect("cut"), end);
    for _ in 0..2 {
        let (bytes, cuts) = bench.range(Stdout, 0, u64::MAX).await;
        let expected = [
            LogCut { from: LogOffsets::default(), to: begin },
            LogCut { from: LogOffsets { stdout: begin.stdout + 6, ..begin }, to: end },
        ];
        assert_eq!((&*bytes, &*cuts), (&b"middle"[..], &expected[..]));
        let follower = bench.follow().await.next_batch().await.expect("read");
        assert!(matches!(follower[..], [LogItem::Cut(_), LogItem::Chunk(_), LogItem::Cut(_)]), "{follower:?}");
        bench.reopen();
    }
}

#[tokio::test]
async fn a_crash_at_the_end_of_the_last_file_costs_what_was_not_acknowledged() {
    let (mut bench, mut written) = (Bench::bounded(), Written::new(8));
    for _ in 0..30 {
        let (stream, offset, data) = written.more();
        bench.append(stream, offset, &data).await.expect("appended");
    }
    let acknowledged = bench.store.offsets(&bench.key).await.expect("offsets");
    let newest = || {
        let later = fs::read_dir(bench.path().with_extension("later")).expect("later files");
        later.map(|entry| entry.expect("an entry").path()).max().expect("one")
    };
    let last = newest();
    let mut file = fs::OpenOptions::new().append(true).open(&last).expect("open");
    file.write_all(b"\xC1\x01 half a frame").expect("torn");
    // A file whose making was not finished.
    fs::write(last.with_file_name("ffffffffffffffff"), b"\xC2\0\0").expect("torn");
    bench.reopen_bounded();
    assert_eq!(bench.store.offsets(&bench.key).await.expect("offsets"), acknowledged);
    let (stream, offset, data) = written.more();
    bench.append(stream, offset, &data).await.expect("goes on");
    let (bytes, cuts) = bench.range(Stdout, 0, u64::MAX).await;
    assert!(bytes == written.without(Stdout, &cuts));
}

#[tokio::test]
async fn a_damaged_file_costs_no_more_than_what_stood_in_it() {
    let (mut bench, mut written) = (Bench::bounded(), Written::new(2));
    for _ in 0..30 {
        let (stream, offset, data) = written.more();
        bench.append(stream, offset, &data).await.expect("appended");
    }
    let acknowledged = bench.store.offsets(&bench.key).await.expect("offsets");
    let oldest = {
        let later = fs::read_dir(bench.path().with_extension("later")).expect("later files");
        later.map(|entry| entry.expect("an entry").path()).min().expect("one")
    };
    let mut bytes = fs::read(&oldest).expect("a file");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&oldest, bytes).expect("damage");
    bench.reopen_bounded();
    assert_eq!(bench.store.offsets(&bench.key).await.expect("offsets"), acknowledged);
    let (bytes, cuts) = bench.range(Stdout, 0, u64::MAX).await;
    assert!(bytes == written.without(Stdout, &cuts), "what is missing is said");
}

#[tokio::test]
async fn what_is_appended_behind_damage_is_there_after_the_next_start() {
    let (mut bench, mut written) = (Bench::bounded(), Written::new(11));
    for _ in 0..30 {
        let (stream, offset, data) = written.more();
        bench.append(stream, offset, &data).await.expect("appended");
    }
    let folder = bench.path().with_extension("later");
    let last = fs::read_dir(&folder).expect("later files").map(|entry| entry.expect("an entry").path()).max();
    let mut bytes = fs::read(last.as_ref().expect("one")).expect("a file");
    bytes.extend(b"\xC1\x01garbage");
    fs::write(last.expect("one"), bytes).expect("damage");
    fs::write(folder.join("ffffffffffffffff"), b"\xC2\0\0").expect("a file without a beginning");
    bench.reopen_bounded();
    let (stream, offset, data) = written.more();
    let acknowledged = bench.append(stream, offset, &data).await.expect("goes on");
    bench.reopen_bounded();
    assert_eq!(bench.store.offsets(&bench.key).await.expect("offsets"), acknowledged);
    let (bytes, cuts) = bench.range(Stdout, 0, u64::MAX).await;
    assert!(bytes == written.without(Stdout, &cuts));
}

#[tokio::test]
async fn of_a_cleared_log_it_is_known_how_much_it_was() {
    for bounded in [false, true] {
        let mut bench = if bounded { Bench::bounded() } else { Bench::new() };
        let mut written = Written::new(4);
        for _ in 0..20 {
            let (stream, offset, data) = written.more();
            bench.append(stream, offset, &data).await.expect("appended");
        }
        let end = bench.store.offsets(&bench.key).await.expect("offsets");
        let freed = bench.store.clear(bench.key.element(), 1).await.expect("cleared");
        assert!(freed > 30_000, "{freed}");
        assert_eq!(bench.store.clear(bench.key.element(), 1).await.expect("again"), 0);
        for _ in 0..2 {
            let all = LogCut { from: LogOffsets::default(), to: end };
            assert_eq!(bench.range(LogSelect::Both, 0, u64::MAX).await, (Vec::new(), vec![all]));
            assert_eq!(bench.on_disk(), frame::START as u64);
            assert_eq!(bench.follow().await.next_batch().await.expect("read"), [LogItem::Cut(all)]);
            assert!(bench.tail(10).await.is_empty());
            bench.reopen();
        }
        bench.store.remove(bench.key.task).await.expect("removed");
        assert!(!bench.path().exists() && !bench.path().with_extension("later").exists());
    }
}

#[tokio::test]
async fn a_log_that_is_removed_before_it_is_cleared_does_not_come_again() {
    let bench = Bench::new();
    bench.append(Stdout, 0, b"one\n").await.expect("appended");
    // It is to be cleared, and waits for its turn.
    let turns = READS.acquire_many(READS_AT_ONCE as u32).await.expect("never closed");
    let mut clear = std::pin::pin!(bench.store.clear(bench.key.element(), 1));
    assert!((&mut clear).now_or_never().is_none());
    bench.store.remove(bench.key.task).await.expect("removed");
    drop(turns);
    assert_eq!(clear.await.expect("nothing is there"), 0);
    let left = fs::read_dir(bench.path().parent().expect("a shard")).expect("a shard").count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn who_reads_a_log_that_is_cleared_gets_what_was_promised() {
    for bounded in [false, true] {
        let mut bench = if bounded { Bench::bounded() } else { Bench::new() };
        let mut written = Written::new(7);
        for _ in 0..20 {
            let (stream, offset, data) = written.more();
            bench.append(stream, offset, &data).await.expect("appended");
        }
        let mut range = bench.store.range(bench.key.element(), 1, Stdout, 0, u64::MAX).await.expect("a range");
        let expected = written.without(Stdout, range.cuts());
        assert!(bench.store.clear(bench.key.element(), 1).await.expect("cleared") > 0);
        let mut bytes = Vec::new();
        while !range.is_empty() {
            bytes.extend(range.next(10_000).await.expect("bytes"));
        }
        assert!(bytes == expected);
        drop(range);
        let left = fs::read_dir(bench.path().parent().expect("a shard")).expect("a shard");
        let files = left.filter(|entry| entry.as_ref().expect("an entry").path().is_file()).count();
        assert_eq!((files, bench.on_disk()), (1, frame::START as u64));
        // A crash while it was read.
        fs::hard_link(bench.path(), bench.path().with_extension("aside")).expect("a link");
        bench.reopen();
        assert_eq!(bench.range(Stdout, 0, u64::MAX).await.0, b"");
        assert!(!bench.path().with_extension("aside").exists());
    }
}

#[tokio::test]
async fn what_a_reader_does_not_get_for_a_cleared_log_is_no_damage() {
    let (bench, mut written) = (Bench::bounded(), Written::new(6));
    for _ in 0..20 {
        let (stream, offset, data) = written.more();
        bench.append(stream, offset, &data).await.expect("appended");
    }
    let mut early = bench.follow().await;
    let first = early.next_batch().await.expect("read");
    assert!(matches!(first[0], LogItem::Chunk(_)));
    bench.store.clear(bench.key.element(), 1).await.expect("cleared");
    // It has read all there was, or is told that the rest is gone.
    for item in early.next_batch().await.expect("read") {
        assert!(matches!(item, LogItem::Cut(_)), "{item:?}");
    }
}
