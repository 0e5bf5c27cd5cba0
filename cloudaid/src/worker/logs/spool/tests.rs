use bytes::Bytes;
use shared::link::{CHUNK_LIMIT, LogStream};

use super::part::FRAME_LIMIT;
use super::*;

const START: Offsets = Offsets { stdout: 100, stderr: 7 };

fn spool(directory: &Path) -> Spool {
    spool_in(directory, &Arc::default())
}

fn spool_in(directory: &Path, room: &Arc<Room>) -> Spool {
    Spool::at(directory.join("run/log-spool"), Arc::clone(room))
}

fn out(offset: u64, data: &'static str) -> Chunk {
    (LogStream::Stdout, offset, Bytes::from(data))
}

fn err(offset: u64, data: &'static str) -> Chunk {
    (LogStream::Stderr, offset, Bytes::from(data))
}

/// What is in one part, with its start and its end.
fn chunks(part: &Part) -> (Offsets, Vec<Chunk>, Offsets) {
    let (file, mut chunks, mut at) = (File::open(&part.path).expect("open"), Vec::new(), HEAD);
    while at < part.length {
        let batch = part::read(&file, at).expect("read");
        assert!(batch.next > at, "{at} of {}", part.length);
        chunks.extend(batch.chunks);
        at = batch.next;
    }
    assert_eq!(file.metadata().expect("metadata").len(), part.length);
    (part.start, chunks, part.end)
}

/// What is in all of them.
fn all(spool: &Spool) -> Vec<Chunk> {
    spool.parts.iter().flat_map(|part| chunks(part).1).collect()
}

impl Spool {
    pub(in crate::worker::logs) fn limited_to(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// The disk has lost what the first part begins with.
    pub(in crate::worker::logs) fn spoil_first(&self) {
        let path = &self.first().expect("a part").path;
        let mut bytes = fs::read(path).expect("read");
        bytes[HEAD as usize] ^= 1;
        fs::write(path, bytes).expect("written");
    }

    /// Where the parts begin and end, in bytes of stdout.
    pub(in crate::worker::logs) fn extents(&self) -> Vec<(u64, u64)> {
        self.parts.iter().map(|part| (part.start.stdout, part.end.stdout)).collect()
    }
}

fn start(spool: &Spool) -> Option<Offsets> {
    spool.first().map(|part| part.start)
}

fn length(spool: &Spool) -> u64 {
    spool.share.bytes()
}

fn data(offset: u64, length: usize) -> Chunk {
    (LogStream::Stdout, offset, Bytes::from(vec![b'x'; length]))
}

fn stdout(stdout: u64) -> Offsets {
    Offsets { stdout, stderr: 0 }
}

#[tokio::test]
async fn what_was_written_is_there_for_the_next_life_and_goes_when_it_is_not_needed() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut kept = spool(scratch.path());
    kept.recall().await;
    assert!(kept.is_empty() && !scratch.path().join("run").exists(), "nothing is made before it is needed");
    kept.append(START, &[out(100, "abc"), err(7, "x")], false).await.expect("appended");
    let middle = kept.end();
    kept.append(middle, &[err(8, "y"), err(9, "z"), out(103, "de")], false).await.expect("appended");
    let expected = vec![out(100, "abc"), err(7, "xyz"), out(103, "de")];
    let end = Offsets { stdout: 105, stderr: 10 };
    assert_eq!((all(&kept), start(&kept), kept.end(), kept.is_whole()), (expected.clone(), Some(START), end, false));

    let mut again = spool(scratch.path());
    again.recall().await;
    assert_eq!(
        (all(&again), start(&again), again.end(), again.is_whole()),
        (expected.clone(), Some(START), end, false)
    );
    assert_eq!(length(&again), length(&kept));
    again.append(end, &[], true).await.expect("its end");
    let mut again = spool(scratch.path());
    again.recall().await;
    assert_eq!((all(&again), again.is_whole()), (expected, true));
    again.forget(Offsets { stderr: 9, ..end }).await;
    assert!(!again.is_empty(), "the master lacks a byte of it");
    again.forget(end).await;
    assert!(again.is_empty() && !again.is_whole() && !scratch.path().join("run/log-spool").exists());
    again.append(end, &[out(105, "f")], false).await.expect("a new one");
    assert_eq!((all(&again), start(&again)), (vec![out(105, "f")], Some(end)));
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_and_written_again() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("run/log-spool");
    let mut kept = spool(scratch.path());
    kept.append(START, &[out(100, "abc")], false).await.expect("appended");
    let first = length(&kept);
    let middle = kept.end();
    kept.append(middle, &[out(103, "def")], false).await.expect("appended");
    let whole = fs::read(&path).expect("read");
    for end in 0..whole.len() as u64 {
        fs::write(&path, &whole[..end as usize]).expect("written");
        let mut again = spool(scratch.path());
        again.recall().await;
        let (good, text) = match end {
            0..HEAD => (0, ""),
            _ if end < first => (HEAD, ""),
            _ => (first, "abc"),
        };
        let offset = 100 + text.len() as u64;
        assert_eq!(length(&again), good, "cut at {end}");
        assert_eq!(again.end().stdout, if good == 0 { 0 } else { offset }, "cut at {end}");
        again.append(Offsets { stdout: offset, ..START }, &[out(offset, "xyz!")], false).await.expect("appended");
        let there: Vec<u8> = all(&again).into_iter().flat_map(|(_, _, data)| data.to_vec()).collect();
        assert_eq!(there, [text.as_bytes(), b"xyz!"].concat(), "cut at {end}");
        assert_eq!(again.parts.len(), 1, "it goes on behind the good part");
    }
}

#[tokio::test]
async fn a_changed_byte_is_found() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("run/log-spool");
    let mut kept = spool(scratch.path());
    kept.append(START, &[out(100, "abc"), err(7, "x")], true).await.expect("appended");
    let whole = fs::read(&path).expect("read");
    for position in 0..whole.len() {
        let mut changed = whole.clone();
        changed[position] ^= 1;
        fs::write(&path, changed).expect("written");
        let mut again = spool(scratch.path());
        again.recall().await;
        assert!(length(&again) < whole.len() as u64 && !again.is_whole(), "byte {position}");
    }
}

#[tokio::test]
async fn it_takes_no_more_than_it_may_and_gives_it_back() {
    let scratch = tempfile::tempdir().expect("a directory");
    let room = Arc::new(Room::of(1000));
    let mut first = spool_in(&scratch.path().join("first"), &room).limited_to(500);
    let mut second = spool_in(&scratch.path().join("second"), &room);
    first.append(START, &[data(100, 400)], false).await.expect("it has room");
    let (before, middle) = (length(&first), first.end());
    let full = first.append(middle, &[data(500, 100)], false).await.expect_err("it is full");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(first.extents(), [(100, 500), (600, 600)], "what it does not keep is counted");
    assert_eq!((length(&first), all(&first)), (before + HEAD, vec![data(100, 400)]));
    // All together have an end, too.
    second.append(START, &[data(100, 700)], false).await.expect_err("the others have it");
    assert_eq!((second.extents(), length(&second)), (vec![(800, 800)], HEAD));
    first.clear().await;
    second.append(second.end(), &[data(800, 700)], false).await.expect("it was given back");
    // What is there counts in the next life, and goes with its run.
    let room = Arc::new(Room::of(1000));
    let mut again = spool_in(&scratch.path().join("second"), &room);
    again.recall().await;
    first = spool_in(&scratch.path().join("first"), &room);
    first.append(START, &[data(100, 400)], false).await.expect_err("the other has it");
    drop(again);
    first.clear().await;
    first.append(START, &[data(100, 400)], false).await.expect("it was given back");
}

#[tokio::test]
async fn what_is_full_keeps_its_beginning_and_its_end_and_knows_what_is_between() {
    let scratch = tempfile::tempdir().expect("a directory");
    let limit = 4096;
    let mut kept = spool(scratch.path()).limited_to(limit);
    // As much as half of a later part holds, with what is around it.
    let step = 200;
    let mut written = 0;
    while written < 60_000 {
        kept.append(stdout(written), &[data(written, step)], false).await.expect("it has room");
        written += step as u64;
        assert!(length(&kept) <= limit, "{} of {limit}", length(&kept));
        assert_eq!(kept.end(), stdout(written), "each byte is counted");
        let extents = kept.extents();
        let contiguous = extents.windows(2).filter(|pair| pair[0].1 == pair[1].0).count();
        let gaps = usize::from(written > 3_600);
        assert!(contiguous + gaps >= extents.len() - 1, "no more than the middle is lacking: {extents:?}");
        assert_eq!(extents[0].0, 0, "the beginning stays");
    }
    let there = kept.extents();
    assert!(there[0].1 >= limit / 2 && there[0].1 <= limit / 4 * 3, "{there:?}");
    assert!(written - there[1].0 >= limit / 8 && written - there[1].0 <= limit / 4, "{there:?}");
    let mut again = spool(scratch.path()).limited_to(limit);
    again.recall().await;
    assert_eq!((again.extents(), all(&again), length(&again)), (there, all(&kept), length(&kept)));
    again.append(stdout(written), &[], true).await.expect("its end");
    let mut again = spool(scratch.path());
    again.recall().await;
    assert!(again.is_whole() && again.end() == stdout(written));
    again.forget(stdout(written)).await;
    let left = fs::read_dir(scratch.path().join("run")).expect("a directory").count();
    assert_eq!((left, length(&again)), (0, 0));
}

#[tokio::test]
async fn where_others_have_the_room_what_is_kept_of_the_end_makes_place_for_what_comes() {
    let scratch = tempfile::tempdir().expect("a directory");
    let room = Arc::new(Room::of(1000));
    let mut kept = spool_in(scratch.path(), &room).limited_to(1200);
    kept.append(stdout(0), &[data(0, 400)], false).await.expect("it has room");
    kept.append(stdout(400), &[data(400, 400)], false).await.expect("it has room");
    assert_eq!(kept.extents(), [(0, 800)]);
    kept.append(stdout(800), &[data(800, 50)], false).await.expect("it has room");
    kept.append(stdout(850), &[data(850, 60)], false).await.expect("what was there before goes");
    assert_eq!(kept.extents(), [(0, 800), (850, 910)]);
    kept.append(stdout(910), &[data(910, 500)], false).await.expect_err("there is not so much");
    assert_eq!(kept.extents(), [(0, 800), (1410, 1410)], "it is counted");
    kept.append(stdout(1410), &[data(1410, 500)], false).await.expect_err("nor now");
    assert_eq!(kept.extents(), [(0, 800), (1910, 1910)]);
    kept.append(stdout(1910), &[data(1910, 10)], false).await.expect("it has room");
    let expected = [(0, 800), (1910, 1920)];
    assert_eq!(kept.extents(), expected);
    let mut again = spool(scratch.path());
    again.recall().await;
    assert_eq!(again.extents(), expected);
}

#[tokio::test]
async fn what_is_read_again_goes_before_what_is_kept_of_the_end() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut kept = spool(scratch.path()).limited_to(1000);
    kept.append(stdout(500), &[data(500, 300)], false).await.expect("it has room");
    kept.append(stdout(100), &[data(100, 200)], false).await.expect("it has room");
    kept.append(stdout(300), &[data(300, 50)], false).await.expect("it goes on");
    assert_eq!((kept.extents(), kept.end()), (vec![(100, 350), (500, 800)], stdout(800)));
    assert!(kept.is_reached(stdout(500)) && !kept.is_reached(stdout(499)));
    kept.append(stdout(350), &[data(350, 400)], false).await.expect_err("the end is not given up for that");
    assert_eq!(kept.extents(), [(100, 350), (500, 800)], "and the end is what it was");
    let mut again = spool(scratch.path());
    again.recall().await;
    assert_eq!(again.extents(), [(100, 350), (500, 800)]);
    again.forget(stdout(400)).await;
    assert_eq!(again.extents(), [(500, 800)]);
}

#[tokio::test]
async fn what_is_read_again_and_goes_on_behind_the_end_is_counted_where_there_is_no_room() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut kept = spool(scratch.path()).limited_to(1000);
    kept.append(stdout(500), &[data(500, 300)], false).await.expect("it has room");
    kept.append(stdout(100), &[data(100, 800)], false).await.expect_err("the end is not given up for that");
    let expected = [(500, 800), (900, 900)];
    assert_eq!((kept.extents(), kept.end()), (expected.to_vec(), stdout(900)));
    let mut again = spool(scratch.path());
    again.recall().await;
    assert_eq!(again.extents(), expected);
}

#[tokio::test]
async fn what_cannot_be_written_is_not_there() {
    let scratch = tempfile::tempdir().expect("a directory");
    let room = Arc::new(Room::of(1000));
    let mut kept = spool_in(scratch.path(), &room);
    // No directory can be made in the place of a file.
    fs::write(scratch.path().join("run"), "").expect("written");
    kept.append(START, &[out(100, "abc")], true).await.expect_err("it cannot be made");
    assert!(kept.is_empty() && !kept.is_whole() && length(&kept) == 0);
    fs::remove_file(scratch.path().join("run")).expect("removed");
    let large = (LogStream::Stderr, 7, Bytes::from(vec![b'x'; 900]));
    kept.append(START, &[large], false).await.expect("nothing was taken before");
}

#[tokio::test]
async fn small_pieces_come_back_together_and_large_ones_a_little_at_a_time() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut kept = spool(scratch.path());
    let lines: Vec<_> = (0..1000).map(|number| out(100 + 4 * number, "line")).collect();
    kept.append(START, &lines, false).await.expect("appended");
    let chunks = all(&kept);
    assert_eq!((chunks.len(), chunks[0].2.len()), (1, 4000));
    let middle = kept.end();
    let large = |number: u64| (LogStream::Stderr, 7 + number * CHUNK_LIMIT as u64, Bytes::from(vec![1; CHUNK_LIMIT]));
    let larges: Vec<_> = (0..4).map(large).collect();
    kept.append(middle, &larges, false).await.expect("appended");
    assert_eq!(all(&kept)[1..], larges);
    let batch = kept.read(HEAD).await.expect("read");
    assert!(batch.next <= HEAD + FRAME_LIMIT as u64, "no more than that is in memory at a time");
}
