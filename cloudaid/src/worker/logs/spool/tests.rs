use bytes::Bytes;

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

async fn all(spool: &Spool) -> Vec<Chunk> {
    let (mut chunks, mut at) = (Vec::new(), HEAD);
    while at < spool.length() {
        let batch = spool.read(at).await.expect("read");
        assert!(batch.next > at, "{at} of {}", spool.length());
        chunks.extend(batch.chunks);
        at = batch.next;
    }
    chunks
}

#[tokio::test]
async fn what_was_written_is_there_for_the_next_life_and_goes_when_it_is_not_needed() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut kept = spool(scratch.path());
    kept.recall().await;
    assert!(kept.is_empty() && !scratch.path().join("run").exists(), "nothing is made before it is needed");
    kept.append(START, &[out(100, "abc"), err(7, "x")], false).await.expect("appended");
    kept.append(Offsets::default(), &[err(8, "y"), err(9, "z"), out(103, "de")], false).await.expect("appended");
    let expected = vec![out(100, "abc"), err(7, "xyz"), out(103, "de")];
    let end = Offsets { stdout: 105, stderr: 10 };
    assert_eq!((all(&kept).await, kept.start(), kept.end(), kept.is_whole()), (expected.clone(), START, end, false));

    let mut again = spool(scratch.path());
    again.recall().await;
    assert_eq!(
        (all(&again).await, again.start(), again.end(), again.is_whole()),
        (expected.clone(), START, end, false)
    );
    assert_eq!(again.length(), kept.length());
    again.append(START, &[], true).await.expect("its end");
    let mut again = spool(scratch.path());
    again.recall().await;
    assert_eq!((all(&again).await, again.is_whole()), (expected, true));
    again.remove().await;
    assert!(again.is_empty() && !again.is_whole() && !scratch.path().join("run/log-spool").exists());
    again.append(end, &[out(105, "f")], false).await.expect("a new one");
    assert_eq!((all(&again).await, again.start()), (vec![out(105, "f")], end));
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_and_written_again() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("run/log-spool");
    let mut kept = spool(scratch.path());
    kept.append(START, &[out(100, "abc")], false).await.expect("appended");
    let first = kept.length();
    kept.append(START, &[out(103, "def")], false).await.expect("appended");
    let whole = fs::read(&path).expect("read");
    for end in 0..whole.len() as u64 {
        fs::write(&path, &whole[..end as usize]).expect("written");
        let mut again = spool(scratch.path());
        again.recall().await;
        let (length, text) = match end {
            0..HEAD => (0, ""),
            _ if end < first => (HEAD, ""),
            _ => (first, "abc"),
        };
        assert_eq!(again.length(), length, "cut at {end}");
        assert_eq!(again.end().stdout, if length == 0 { 0 } else { 100 + text.len() as u64 }, "cut at {end}");
        let offset = 100 + text.len() as u64;
        again.append(START, &[out(offset, "xyz!")], false).await.expect("appended behind the good part");
        let there: Vec<u8> = all(&again).await.into_iter().flat_map(|(_, _, data)| data.to_vec()).collect();
        assert_eq!(there, [text.as_bytes(), b"xyz!"].concat(), "cut at {end}");
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
        assert!(again.length() < whole.len() as u64 && !again.is_whole(), "byte {position}");
    }
}

#[tokio::test]
async fn it_takes_no_more_than_it_may_and_gives_it_back() {
    let scratch = tempfile::tempdir().expect("a directory");
    let room = Arc::new(Room::of(1000));
    let mut first = Spool { limit: 500, ..spool_in(&scratch.path().join("first"), &room) };
    let mut second = spool_in(&scratch.path().join("second"), &room);
    let data = |offset: u64, length: usize| (LogStream::Stdout, offset, Bytes::from(vec![b'x'; length]));
    first.append(START, &[data(100, 400)], false).await.expect("it has room");
    let before = (first.length(), first.end());
    let full = first.append(START, &[data(500, 100)], false).await.expect_err("it is full");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!((first.length(), first.end()), before, "nothing of it was taken");
    assert_eq!(fs::metadata(&first.path).expect("metadata").len(), first.length());
    // All together have an end, too.
    second.append(START, &[data(100, 700)], false).await.expect_err("the others have it");
    assert!(second.is_empty());
    first.remove().await;
    second.append(START, &[data(100, 700)], false).await.expect("it was given back");
    // What is there counts in the next life, and goes with its run.
    let room = Arc::new(Room::of(1000));
    let mut again = spool_in(&scratch.path().join("second"), &room);
    again.recall().await;
    first = spool_in(&scratch.path().join("first"), &room);
    first.append(START, &[data(100, 400)], false).await.expect_err("the other has it");
    drop(again);
    first.append(START, &[data(100, 400)], false).await.expect("it was given back");
}

#[tokio::test]
async fn what_cannot_be_written_is_not_there() {
    let scratch = tempfile::tempdir().expect("a directory");
    let room = Arc::new(Room::of(1000));
    let mut kept = spool_in(scratch.path(), &room);
    // No directory can be made in the place of a file.
    fs::write(scratch.path().join("run"), "").expect("written");
    kept.append(START, &[out(100, "abc")], true).await.expect_err("it cannot be made");
    assert!(kept.is_empty() && !kept.is_whole() && kept.end() == Offsets::default());
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
    let chunks = all(&kept).await;
    assert_eq!((chunks.len(), chunks[0].2.len()), (1, 4000));
    let large = |number: u64| (LogStream::Stderr, 7 + number * CHUNK_LIMIT as u64, Bytes::from(vec![1; CHUNK_LIMIT]));
    let larges: Vec<_> = (0..4).map(large).collect();
    kept.append(START, &larges, false).await.expect("appended");
    assert_eq!(all(&kept).await[1..], larges);
    let batch = kept.read(HEAD).await.expect("read");
    assert!(batch.next <= HEAD + FRAME_LIMIT as u64, "no more than that is in memory at a time");
}

#[tokio::test]
async fn what_is_behind_something_lost_is_numbered_anew() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut kept = spool(scratch.path());
    // The master had the first two bytes of the first piece.
    kept.append(START, &[out(98, "xxabc"), err(7, "x"), out(103, "de")], true).await.expect("appended");
    kept.renumber(Offsets { stdout: 40, stderr: 9 }).await.expect("written");
    let expected = vec![out(40, "abc"), err(7, "x"), out(43, "de")];
    let (start, end) = (Offsets { stdout: 40, stderr: 7 }, Offsets { stdout: 45, stderr: 8 });
    assert_eq!((all(&kept).await, kept.start(), kept.end(), kept.is_whole()), (expected, start, end, false));
    assert_eq!(fs::metadata(&kept.path).expect("metadata").len(), kept.length());
    kept.append(START, &[out(45, "f")], false).await.expect("it goes on");
    let mut again = spool(scratch.path());
    again.recall().await;
    assert_eq!((again.start(), again.end()), (start, Offsets { stdout: 46, ..end }));
    assert_eq!(again.length(), kept.length());
    assert_eq!(all(&again).await, [out(40, "abc"), err(7, "x"), out(43, "def")]);
}
