//! What is left of files that have gone, over crashes; and logs of earlier versions.

use super::*;

/// The files beside the first, and what is in them.
fn later(bench: &Bench) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(bench.path().with_extension("later")).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

fn newest_thin(bench: &Bench) -> Option<PathBuf> {
    let paths = later(bench).into_iter().map(|(path, _)| path);
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "thin")).max()
}

/// Writes a lot to stdout, and a little to stderr: of each file that goes the little stays.
async fn write(bench: &Bench, written: &mut Written) {
    for (stream, length) in [(Stderr, 1 + written.random(200)), (Stdout, 8_000)] {
        let data: Vec<u8> = (0..length).map(|at| b'a' + (at % 26) as u8).collect();
        let all = written.of(stream);
        let offset = all.len() as u64;
        all.extend(&data);
        bench.append(stream, offset, &data).await.expect("appended, whatever else fails");
    }
}

/// That what is stored and what is cut are what was written. Returns how much is stored.
async fn check(bench: &Bench, written: &mut Written) -> usize {
    let (both, cuts) = bench.range(LogSelect::Both, 0, u64::MAX).await;
    let ends = bench.store.offsets(&bench.key).await.expect("offsets");
    for stream in LogStream::ALL {
        assert_eq!(ends.of(stream), written.of(stream).len() as u64);
        assert!(bench.range(stream, 0, u64::MAX).await.0 == written.without(stream, &cuts), "{stream:?}: {cuts:?}");
    }
    both.len()
}

#[tokio::test]
async fn a_crash_while_files_are_replaced_by_what_is_left_costs_nothing() {
    let (mut bench, mut written) = (Bench::bounded(), Written::new(12));
    let mut crashes = 0;
    for _ in 0..60 {
        let (before, thin) = (later(&bench), newest_thin(&bench));
        write(&bench, &mut written).await;
        let Some(newest) = newest_thin(&bench).filter(|newest| Some(newest) != thin.as_ref()) else { continue };
        crashes += 1;
        let stored = check(&bench, &mut written).await;
        let whole = fs::read(&newest).expect("a file");
        let come_back = || {
            let gone = before.iter().filter(|(path, _)| !path.exists());
            gone.for_each(|(path, bytes)| fs::write(path, bytes).expect("written"));
        };
        // It was whole, and nothing of what it was made of had gone.
        come_back();
        bench.reopen_bounded();
        assert!(check(&bench, &mut written).await >= stored);
        let there = later(&bench).into_iter().filter(|(path, _)| path.extension().is_some()).map(|(path, _)| path);
        assert_eq!(there.collect::<Vec<_>>(), std::slice::from_ref(&newest));
        // It was not whole.
        come_back();
        fs::write(&newest, &whole[..whole.len() - 1]).expect("torn");
        bench.reopen_bounded();
        assert!(check(&bench, &mut written).await >= stored);
        assert!(!newest.exists());
    }
    assert!(crashes > 10, "{crashes}");
}

#[tokio::test]
async fn what_is_to_stay_and_cannot_be_read_is_cut_and_said_to_be() {
    let (mut bench, mut written) = (Bench::bounded(), Written::new(3));
    for step in 0..60 {
        write(&bench, &mut written).await;
        if step == 30 {
            assert!(newest_thin(&bench).is_some());
            for (path, mut bytes) in later(&bench) {
                *bytes.last_mut().expect("a byte") ^= 1;
                fs::write(path, bytes).expect("damage");
            }
        }
    }
    for _ in 0..2 {
        check(&bench, &mut written).await;
        assert!(bench.on_disk() <= ON_DISK);
        bench.reopen_bounded();
    }
}

/// A record as earlier versions made of each piece.
fn old_frame(stream: u8, offset: u64, at_unix_ms: i64, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xC1, stream];
    frame.extend(offset.to_be_bytes());
    frame.extend(u32::try_from(data.len()).expect("short").to_be_bytes());
    frame.extend(at_unix_ms.to_be_bytes());
    let sum = blake3::Hasher::new().update(&frame).update(data).finalize();
    frame.extend(&sum.as_bytes()[..8]);
    frame.extend(data);
    frame
}

#[tokio::test]
async fn a_log_of_an_earlier_version_is_read_and_goes_on() {
    let (mut bench, mut written) = (Bench::bounded(), Written::new(0));
    // The beginning, as much of it as was kept then, and what stood in a later file behind a cut.
    let mut first = Vec::new();
    for number in 0..300u64 {
        let (stream, code) = if number % 3 == 0 { (Stderr, 2) } else { (Stdout, 1) };
        let line = format!("{number}\n");
        let all = written.of(stream);
        first.extend(old_frame(code, all.len() as u64, 1_000 + number.cast_signed(), line.as_bytes()));
        all.extend(line.as_bytes());
    }
    fs::create_dir_all(bench.path().parent().expect("a shard")).expect("made");
    fs::write(bench.path(), &first).expect("written");
    written.stdout.extend(vec![b'?'; 50_000]);
    let offsets = LogOffsets { stdout: written.stdout.len() as u64, stderr: written.stderr.len() as u64 };
    let start = index::Checkpoint { position: first.len() as u64 + 60_000, offsets };
    let mut second = frame::encode_start(start).to_vec();
    second.extend(old_frame(1, offsets.stdout, 9_000, b"later\n"));
    written.stdout.extend(b"later\n");
    let folder = bench.path().with_extension("later");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join(format!("{:016x}", start.position)), second).expect("written");
    for _ in 0..2 {
        bench.reopen_bounded();
        let (_, cuts) = bench.range(LogSelect::Both, 0, u64::MAX).await;
        assert_eq!((cuts.len(), cuts[0].bytes()), (1, LogOffsets { stdout: 50_000, stderr: 0 }));
        for stream in LogStream::ALL {
            assert!(bench.range(stream, 0, u64::MAX).await.0 == written.without(stream, &cuts));
        }
    }
    let since = bench.store.start_since(bench.key.element(), 1, WallTime(1_003)).await.expect("found");
    assert_eq!(since, LogOffsets { stdout: 4, stderr: 2 }, "behind 1, 2 and 0");
    for _ in 0..40 {
        let (stream, offset, data) = written.more();
        bench.append(stream, offset, &data).await.expect("goes on");
    }
    for _ in 0..2 {
        let (both, cuts) = bench.range(LogSelect::Both, 0, u64::MAX).await;
        assert!(both.starts_with(b"0\n1\n2\n3\n") && both.len() as u64 <= KEPT);
        for stream in LogStream::ALL {
            assert!(bench.range(stream, 0, u64::MAX).await.0 == written.without(stream, &cuts));
        }
        bench.reopen_bounded();
    }
}
