//! Logs so long that the engine drops their start, on the engine of the tests.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::runtime_bench::Bench;
use cloudaid::runtime::{LogMark, LogPiece, Runtime};
use futures_util::TryStreamExt;
use shared::id::AttemptKey;
use shared::link::LogStream;
use shared::resources::MIB;

/// What was read, of each stream, and the last place that was told.
#[derive(Debug, Default)]
struct Read {
    bytes: [Vec<u8>; 2],
    mark: LogMark,
    /// Where it began.
    first: Option<LogMark>,
    has_gap: bool,
}

async fn read(bench: &Bench, key: &AttemptKey, from: LogMark) -> Read {
    let mut pieces = bench.runtime.logs(key, from).await.expect("a log");
    let mut read = Read { mark: from, ..Read::default() };
    while let Some(piece) = pieces.try_next().await.expect("a log") {
        match piece {
            LogPiece::Data(stream, data) => read.bytes[stream as usize].extend_from_slice(&data),
            LogPiece::Mark(mark) => {
                read.mark = mark;
                read.first = Some(mark).filter(|mark| mark.first).or(read.first);
            }
            LogPiece::Gap | LogPiece::Doubt => read.has_gap = true,
        }
    }
    read
}

#[tokio::test]
async fn a_log_whose_start_is_dropped_is_read_whole_and_again_from_a_place() {
    const LINES: usize = 17;
    let mut bench = Bench::new();
    bench.runtime = bench.runtime.with_log_files(6 * MIB);
    // Lines that the engine cuts among them, and a second stream.
    let line = "p=$(head -c 900 /dev/zero | tr '\\0' p); i=0; while [ $i -lt 17 ]; do yes \"line $i $p\" | head -c 1000000; echo; \
                head -c 20000 /dev/zero | tr '\\0' x; echo; echo err $i >&2; sleep 0.9; i=$((i+1)); done; echo end";
    let expected: String = (0..LINES)
        .map(|number| {
            let line = format!("line {number} {}\n", "p".repeat(900));
            let lines: String = line.chars().cycle().take(1_000_000).collect();
            format!("{lines}\n{}\n", "x".repeat(20_000))
        })
        .chain(["end\n".to_owned()])
        .collect();
    let errors: String = (0..LINES).map(|number| format!("err {number}\n")).collect();
    let spec = bench.shell(line);
    bench.start(&spec).await;
    // While it is written.
    let all = read(&bench, &spec.key, LogMark::default()).await;
    assert!(!all.has_gap, "{:?} of {} bytes", all.mark, all.bytes[0].len());
    assert_eq!(String::from_utf8_lossy(&all.bytes[LogStream::Stderr as usize]), errors);
    let stdout = &all.bytes[LogStream::Stdout as usize];
    let same = stdout.iter().zip(expected.as_bytes()).take_while(|(a, b)| a == b).count();
    assert!(*stdout == expected.as_bytes(), "{} of {} bytes, {same} are right", stdout.len(), expected.len());
    assert!(all.mark.bytes[0] > 8 * MIB, "a place in the last files: {:?}", all.mark);

    // The engine has not kept its start; from the place on it is all there, also for a reader that has seen nothing of it.
    let start = read(&bench, &spec.key, LogMark::default()).await;
    assert!(start.bytes[0].len() < expected.len(), "nothing was dropped, so this shows nothing");
    // Who knows where it began is told.
    let first = all.first.expect("where it began");
    assert!(!start.has_gap && first.bytes == [0; 2], "{first:?}");
    let late = read(&bench, &spec.key, first).await;
    assert!(late.has_gap && late.bytes == start.bytes, "{} of {} bytes", late.bytes[0].len(), start.bytes[0].len());
    assert!(late.first.is_some_and(|late| late.at > first.at && late.bytes == [0; 2]), "{:?}", late.first);
    let rest = read(&bench, &spec.key, all.mark).await;
    let [stdout, stderr] = all.mark.bytes.map(|bytes| usize::try_from(bytes).expect("small"));
    assert!(rest.bytes[0] == expected.as_bytes()[stdout..], "{} bytes from {stdout} on", rest.bytes[0].len());
    assert_eq!(rest.bytes[1], errors.as_bytes()[stderr..]);
    bench.runtime.remove(&spec.key).await.expect("removed");
}
