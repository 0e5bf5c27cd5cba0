//! How much is kept of short lines, and of each stream.

use super::*;

/// Pieces that come together, as many as a worker's session makes durable at once.
const TOGETHER: usize = 64;

impl Bench {
    /// Appends what follows on what was written.
    async fn write(&self, written: &mut Written, pieces: &[(LogStream, Vec<u8>)]) {
        let pieces = pieces.iter().map(|(stream, data)| {
            let all = written.of(*stream);
            let piece = self.piece(*stream, all.len() as u64, data);
            all.extend(data);
            piece
        });
        let pieces = pieces.collect();
        self.store.append(pieces).await.pop().expect("an answer").1.expect("appended");
    }

    /// That what is stored and what is cut are what was written. Returns how much is stored, and what is cut.
    async fn check(&self, written: &mut Written, about: &str) -> (u64, Vec<LogCut>) {
        let (both, cuts) = self.range(LogSelect::Both, 0, u64::MAX).await;
        let mut stored = 0;
        for stream in LogStream::ALL {
            let (bytes, _) = self.range(stream, 0, u64::MAX).await;
            let cut: u64 = cuts.iter().map(|cut| cut.bytes().of(stream)).sum();
            let all = written.of(stream).len();
            assert_eq!(bytes.len() as u64 + cut, all as u64, "{stream:?}: stored + cut = produced, {about}");
            assert!(
                bytes == written.without(stream, &cuts),
                "{stream:?}: the bytes are those that were written, {about}"
            );
            stored += bytes.len() as u64;
        }
        assert_eq!(both.len() as u64, stored, "{about}");
        (stored, cuts)
    }
}

/// That a stream keeps its beginning and its end, or all of it.
fn has_both_ends(written: &mut Written, cuts: &[LogCut], reserved: u64, about: &str) {
    for stream in LogStream::ALL {
        let cuts = || cuts.iter().filter(move |cut| cut.bytes().of(stream) > 0);
        let (Some(first), Some(last)) = (cuts().next(), cuts().next_back()) else { continue };
        let end = written.of(stream).len() as u64 - last.to.of(stream);
        assert!(first.from.of(stream) >= reserved, "{stream:?} begins with {}, {about}", first.from.of(stream));
        assert!(end >= reserved, "{stream:?} ends with {end}, {about}");
    }
}

#[tokio::test]
async fn short_lines_are_kept_up_to_the_bound() {
    for both in [true, false] {
        let (mut bench, mut written) = (Bench::bounded(), Written::new(0));
        let lines: Vec<_> = (0..30_000)
            .flat_map(|number| [(Stdout, format!("line-{number}\n")), (Stderr, format!("err-{number}\n"))])
            .filter(|(stream, _)| both || *stream == Stdout)
            .map(|(stream, line)| (stream, line.into_bytes()))
            .collect();
        for lines in lines.chunks(TOGETHER) {
            bench.write(&mut written, lines).await;
        }
        for _ in 0..2 {
            let (stored, cuts) = bench.check(&mut written, "short lines").await;
            assert!(stored <= KEPT && stored > KEPT / 5 * 4, "{stored} of {KEPT}");
            let most = stored + stored / 4 + STARTS;
            assert!(bench.on_disk() <= most, "{stored} bytes take {}", bench.on_disk());
            assert_eq!(cuts.len(), 1);
            has_both_ends(&mut written, &cuts, RESERVED, "short lines");
            assert!(bench.range(Stdout, 0, 14).await.0 == b"line-0\nline-1\n");
            assert_eq!(bench.tail(1).await[0].1, if both { "err-29999" } else { "line-29999" });
            bench.reopen_bounded();
        }
    }
}

#[tokio::test]
async fn lines_that_come_one_by_one_take_four_times_as_much_at_the_most() {
    const SMALL: u64 = 4096;
    for (line, least) in [("123456789\n", SMALL / 5 * 4), ("\n", SMALL / 10)] {
        let (mut bench, mut written) = (Bench::new(), Written::new(0));
        bench.reopen_keeping(Keep::exactly(SMALL));
        for _ in 0..1_000 {
            bench.write(&mut written, &[(Stdout, line.into())]).await;
            assert!(bench.on_disk() <= 4 * SMALL + STARTS, "{}", bench.on_disk());
        }
        let (stored, cuts) = bench.check(&mut written, "one by one").await;
        assert!(stored <= SMALL && stored > least, "{stored} of {SMALL} in lines of {}", line.len());
        assert_eq!(cuts.len(), 1);
        has_both_ends(&mut written, &cuts, SMALL / 16, "one by one");
    }
}

#[tokio::test]
async fn a_stream_that_comes_late_or_falls_silent_keeps_both_its_ends() {
    let flood = |written: &Written, of: usize| {
        let from = written.stdout.len() / 10;
        (0..of).map(|number| (Stdout, format!("{:09}\n", from + number).into_bytes())).collect::<Vec<_>>()
    };
    let (mut bench, mut written) = (Bench::bounded(), Written::new(0));
    for round in 0..40 {
        // After a lot of the other, and before a lot of it.
        if (15..20).contains(&round) {
            let lines: Vec<_> = (0..500).map(|number| (Stderr, format!("{round}: {number}\n").into_bytes())).collect();
            bench.write(&mut written, &lines).await;
        }
        let lines = flood(&written, 3_000);
        bench.write(&mut written, &lines).await;
        let about = format!("in round {round}");
        let (stored, cuts) = bench.check(&mut written, &about).await;
        assert!(stored <= KEPT, "{stored}, {about}");
        has_both_ends(&mut written, &cuts, RESERVED, &about);
        assert!(cuts.len() <= 1, "{cuts:?}, {about}");
    }
    for _ in 0..2 {
        let (bytes, _) = bench.range(Stderr, 0, u64::MAX).await;
        assert!(bytes.starts_with(b"15: 0\n15: 1\n") && bytes.ends_with(b"19: 498\n19: 499\n"));
        let last = bench.store.tail_lines_of(bench.key.element(), 1, LogSelect::One(Stderr), 2).await.expect("tail");
        assert_eq!(last, [(Stderr, b"19: 498".to_vec()), (Stderr, b"19: 499".to_vec())]);
        bench.reopen_bounded();
    }
}

#[tokio::test]
async fn a_line_is_not_torn_by_a_cut_of_the_other_stream() {
    let (mut bench, mut written) = (Bench::bounded(), Written::new(0));
    bench.write(&mut written, &[(Stderr, b"first\nhalf".to_vec())]).await;
    for _ in 0..30 {
        bench.write(&mut written, &[(Stdout, vec![b'x'; 10_000])]).await;
    }
    bench.write(&mut written, &[(Stderr, b" and half".to_vec())]).await;
    for _ in 0..2 {
        let lines = bench.store.tail_lines_of(bench.key.element(), 1, LogSelect::One(Stderr), 9).await.expect("tail");
        assert_eq!(lines, [(Stderr, b"first".to_vec()), (Stderr, b"half and half".to_vec())]);
        let begin = bench.store.start_of_last(bench.key.element(), 1, LogSelect::One(Stderr), 1).await.expect("found");
        assert_eq!(begin.stderr, 6);
        bench.reopen_bounded();
    }
}

/// Follows a log, and knows how much of it was read and how much was said to be cut.
struct Follower {
    chunks: LogChunks,
    reached: LogOffsets,
}

impl Follower {
    async fn catch_up(&mut self, written: &mut Written) {
        while self.read(written).await {}
    }

    /// Whether something came.
    async fn read(&mut self, written: &mut Written) -> bool {
        let batch = self.chunks.next_batch().await.expect("read");
        for item in &batch {
            match item {
                LogItem::Chunk(chunk) => {
                    assert_eq!(chunk.offset, self.reached.of(chunk.stream), "nothing is left out silently");
                    let at = usize::try_from(chunk.offset).expect("an offset");
                    assert!(written.of(chunk.stream)[at..].starts_with(&chunk.data));
                    *self.reached.of_mut(chunk.stream) += chunk.data.len() as u64;
                }
                LogItem::Cut(cut) => {
                    assert_eq!(cut.from, self.reached);
                    self.reached = cut.to;
                }
            }
        }
        !batch.is_empty()
    }
}

#[tokio::test]
async fn who_is_in_the_middle_of_what_is_left_is_told_of_what_goes_behind_it() {
    let (mut bench, mut written) = (Bench::new(), Written::new(0));
    bench.reopen_keeping(Keep::exactly(2 * 1024 * 1024));
    for (stream, count) in [(Stdout, 10), (Stderr, 5), (Stdout, 70)] {
        bench.write(&mut written, &vec![(stream, vec![b'x'; 60_000]); count]).await;
    }
    let (_, cuts) = bench.check(&mut written, "before").await;
    let mut follower = Follower { chunks: bench.follow().await, reached: LogOffsets::default() };
    while follower.reached.stderr <= cuts[0].to.stderr {
        assert!(follower.read(&mut written).await);
    }
    assert!(follower.reached.stderr < 300_000, "it has not read all that is left");
    bench.write(&mut written, &vec![(Stdout, vec![b'x'; 60_000]); 30]).await;
    let (_, more) = bench.check(&mut written, "after").await;
    assert!(more.len() == 1 && more[0].to.stdout > cuts[0].to.stdout && more[0].to.stderr == cuts[0].to.stderr);
    follower.catch_up(&mut written).await;
    let ends = LogOffsets { stdout: written.stdout.len() as u64, stderr: written.stderr.len() as u64 };
    assert_eq!(follower.reached, ends);
}

#[tokio::test]
async fn whatever_is_written_is_stored_or_said_to_be_cut() {
    for seed in 0..12 {
        let (mut bench, mut written) = (Bench::new(), Written::new(seed));
        let kept = 8_000 + written.random(30_000);
        let (keep, says_cuts) = (Keep::exactly(kept), seed % 3 == 2);
        bench.reopen_keeping(keep);
        let mut follower = Follower { chunks: bench.follow().await, reached: LogOffsets::default() };
        // Of a thousand pieces, so many are of stderr; from time to time it is another number.
        let mut stderr = 0;
        for step in 0..200 {
            let about = format!("after {step} of {seed}");
            if written.random(20) == 0 {
                stderr = [0, 10, 100, 500, 990, 1_000][usize::try_from(written.random(6)).expect("a number")];
            }
            let (count, longest) = (1 + written.random(70), [3, 30, 2_000][usize::try_from(step % 3).expect("one")]);
            let mut pieces = Vec::new();
            for _ in 0..count {
                let stream = if written.random(1_000) < stderr { Stderr } else { Stdout };
                let mut line: Vec<u8> = (0..written.random(longest)).map(|at| b'a' + (at % 26) as u8).collect();
                line.push(b'\n');
                pieces.push((stream, line));
            }
            bench.write(&mut written, &pieces).await;
            if says_cuts && written.random(15) == 0 {
                let never = usize::try_from(written.random(5_000)).expect("a number");
                written.of(Stderr).extend(vec![b'?'; never]);
                let to = LogOffsets { stdout: written.stdout.len() as u64, stderr: written.stderr.len() as u64 };
                assert_eq!(bench.store.cut(&bench.key, to).await.expect("cut"), to);
            }
            if written.random(25) == 0 {
                follower.catch_up(&mut written).await;
                bench.reopen_keeping(keep);
                let chunks =
                    bench.store.chunks_from(bench.key.element(), 1, follower.reached).await.expect("a follower");
                follower.chunks = chunks;
            } else if written.random(5) == 0 {
                follower.catch_up(&mut written).await;
            }
            if step % 5 == 0 {
                let (stored, cuts) = bench.check(&mut written, &about).await;
                assert!(stored <= kept, "{stored} of {kept}, {about}");
                // Where a worker cuts, files are short.
                assert!(bench.on_disk() <= 4 * kept + 10 * STARTS, "{} for {kept}, {about}", bench.on_disk());
                if !says_cuts {
                    has_both_ends(&mut written, &cuts, kept / 16, &about);
                    assert!(cuts.len() <= 1, "{cuts:?}, {about}");
                }
            }
        }
        follower.catch_up(&mut written).await;
        let ends = LogOffsets { stdout: written.stdout.len() as u64, stderr: written.stderr.len() as u64 };
        assert_eq!(follower.reached, ends);
        bench.check(&mut written, "at the end").await;
    }
}
