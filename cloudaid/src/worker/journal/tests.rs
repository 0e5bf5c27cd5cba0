//! The file, whatever happens to it and to its disk.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use shared::id::Fence;
use shared::link::{Assignment, Outcome};
use shared::resources::Resources;
use shared::task::{Command, Verdict};
use shared::time::{BootTime, WallTime};

use super::*;
use crate::worker::bad_disk::BadDisk;
use crate::worker::volume::testkit::{fill, small_disk};

fn key(index: u32) -> AttemptKey {
    let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
    AttemptKey { task, index, attempt: 1, fence: Fence(1) }
}

fn accepted(index: u32) -> JournalRecord {
    accepted_with(index, "busybox".to_owned())
}

fn accepted_with(index: u32, image: String) -> JournalRecord {
    JournalRecord::Accepted(Arc::new(Assignment {
        key: key(index),
        image,
        command: Command::Argv(vec!["echo".to_owned(), "\"\n\u{1F4A5}".to_owned()]),
        resources: Resources::TASK_DEFAULT,
        env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        user: "ada".parse().expect("a name"),
        name: Some("n".to_owned()),
        input: None,
        stop_grace: Duration::from_millis(1500),
        time_limit: None,
        at_most_once: false,
        blocking_log: false,
        storage_reserved: false,
        pull: Default::default(),
        confinement: Default::default(),
        gpus: Vec::new(),
    }))
}

fn starting(index: u32) -> JournalRecord {
    JournalRecord::Starting { key: key(index), at: WallTime(1_700_000_000_123), boot: Some(BootTime(77)), again: false }
}

fn finished(index: u32) -> JournalRecord {
    let outcome = Outcome {
        verdict: Verdict::Success,
        started_at: None,
        finished_at: WallTime(5),
        stdout_bytes: 1,
        stderr_bytes: 2,
        output_files: 3,
        output_bytes: Some(4),
        output_notes: vec!["x".to_owned()],
        usage: None,
        handed_back: true,
        perhaps_stopped: true,
    };
    JournalRecord::Finished { key: key(index), outcome }
}

/// There is room for them.
fn append(journal: &mut Journal, records: &[JournalRecord]) {
    assert_eq!(journal.append(records).expect("the disk is good"), Written::Durable);
}

fn sum(records: &[JournalRecord]) -> Vec<JournalEntry> {
    let mut entries = BTreeMap::new();
    records.iter().for_each(|record| record.apply(&mut entries));
    entries.into_values().collect()
}

#[test]
fn what_was_appended_is_there_at_the_next_start() {
    let scratch = tempfile::tempdir().expect("a directory");
    let batches = [vec![accepted(0), accepted(1)], vec![starting(0), finished(0)]];
    let mut journal = Journal::open(scratch.path()).expect("a new journal");
    assert_eq!(journal.entries(), []);
    batches.iter().for_each(|batch| append(&mut journal, batch));
    drop(journal);
    let mut journal = Journal::open(scratch.path()).expect("the same journal");
    assert_eq!(journal.entries(), sum(&batches.concat()));
    append(&mut journal, &[JournalRecord::Forgotten(key(0))]);
    drop(journal);
    let journal = Journal::open(scratch.path()).expect("the same journal");
    assert_eq!(journal.entries(), sum(&[accepted(1)]));
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_rest_stays() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("journal");
    let mut journal = Journal::open(scratch.path()).expect("a new journal");
    append(&mut journal, &[accepted(0)]);
    let first = fs::metadata(&path).expect("metadata").len() as usize;
    append(&mut journal, &[starting(0)]);
    drop(journal);
    let whole = fs::read(&path).expect("read");
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).expect("written");
        let mut journal = Journal::open(scratch.path()).expect("a journal");
        let kept = if end >= first { sum(&[accepted(0)]) } else { Vec::new() };
        assert_eq!(journal.entries(), kept, "cut at {end}");
        let good = if end >= first { first } else { HEADER.len().min(end) };
        if end > good.max(HEADER.len()) {
            assert_eq!(fs::read(path.with_extension(CUT)).expect("what was cut"), whole[good..end], "cut at {end}");
        }
        append(&mut journal, &[accepted(7)]);
        drop(journal);
        let journal = Journal::open(scratch.path()).expect("a journal");
        assert_eq!(journal.entries().len(), kept.len() + 1, "cut at {end}");
    }
}

#[test]
fn a_changed_byte_is_found() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("journal");
    append(&mut Journal::open(scratch.path()).expect("a new journal"), &[accepted(0), starting(0)]);
    let whole = fs::read(&path).expect("read");
    for position in HEADER.len()..whole.len() {
        let mut changed = whole.clone();
        changed[position] ^= 1;
        assert!(Replayed::of(&changed[HEADER.len()..]).records < 2, "byte {position}");
    }
}

#[test]
fn what_is_no_journal_is_refused_and_left_alone() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("journal");
    fs::write(&path, b"CLAIJ\0\x02\nsomething newer").expect("written");
    assert!(matches!(Journal::open(scratch.path()), Err(WorkerError::Unreadable { .. })));
    assert!(fs::read(&path).expect("read").ends_with(b"newer"));
}

#[test]
fn it_is_rewritten_when_most_of_it_is_gone() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("journal");
    let mut journal = Journal::open(scratch.path()).expect("a new journal");
    append(&mut journal, &[accepted(0), starting(0), finished(0)]);
    let small = fs::metadata(&path).expect("metadata").len();
    let batch: Vec<_> = (1..=1000).flat_map(|index| [accepted(index), JournalRecord::Forgotten(key(index))]).collect();
    (0..MANY_FROM / batch.len() + 1).for_each(|_| append(&mut journal, &batch));
    assert_eq!(fs::metadata(&path).expect("metadata").len(), small);
    append(&mut journal, &[accepted(1)]);
    drop(journal);
    let journal = Journal::open(scratch.path()).expect("the same journal");
    assert_eq!(journal.entries(), sum(&[accepted(0), starting(0), finished(0), accepted(1)]));
}

/// In MiB of JSON, of bytes of which each takes six.
fn long(index: u32, mib: usize) -> JournalRecord {
    accepted_with(index, "\u{1}".repeat((mib << 20) / 6))
}

#[test]
fn it_is_never_longer_than_what_is_needed_explains() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("journal");
    let mut journal = Journal::open(scratch.path()).expect("a new journal");
    let mut known = vec![long(0, 2), starting(0)];
    append(&mut journal, &known);
    let (mut last, mut rewritten) = (0, 0);
    for index in 1..40 {
        append(&mut journal, &[long(index, 1), JournalRecord::Forgotten(key(index))]);
        let length = fs::metadata(&path).expect("metadata").len();
        assert_eq!(length, journal.length);
        assert!(length <= LONG_FACTOR * (2 << 20) + LONG_FROM + (1 << 20), "{length} after {index}");
        rewritten += u32::from(length < last);
        last = length;
    }
    assert!((1..10).contains(&rewritten), "it was rewritten {rewritten} times for 39 MiB");
    known.push(finished(1));
    append(&mut journal, &known[2..]);
    journal.rewrite().expect("rewritten");
    // A run of which only its end is known is said to have been adopted first.
    let adopted = frame::encode(&JournalRecord::Adopted(key(1)), &mut Vec::new()).expect("a frame");
    let needed = HEADER.len() + journal.weights.total() + adopted;
    assert_eq!(fs::metadata(&path).expect("metadata").len(), needed as u64);
    drop(journal);
    assert_eq!(Journal::open(scratch.path()).expect("the same journal").entries(), sum(&known));
}

#[test]
fn a_record_may_be_longer_than_all_that_is_kept_of_the_disk() {
    let scratch = tempfile::tempdir().expect("a directory");
    let records = [long(0, 9), starting(0)];
    append(&mut Journal::open(scratch.path()).expect("a new journal"), &records);
    assert_eq!(Journal::open(scratch.path()).expect("the same journal").entries(), sum(&records));
}

#[test]
fn one_that_cannot_be_rewritten_goes_on() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut journal = Journal::open(scratch.path()).expect("a new journal");
    // Nothing can be written there.
    let new = scratch.path().join("journal.new");
    fs::create_dir(&new).expect("made");
    append(&mut journal, &[accepted(0)]);
    let batch = |index| [long(index, 1), JournalRecord::Forgotten(key(index))];
    (1..12).for_each(|index| append(&mut journal, &batch(index)));
    assert!(journal.length > 10 << 20);
    fs::remove_dir(&new).expect("removed");
    (12..15).for_each(|index| append(&mut journal, &batch(index)));
    assert!(journal.length < LONG_FROM);
    drop(journal);
    assert_eq!(Journal::open(scratch.path()).expect("the same journal").entries(), sum(&[accepted(0)]));
}

#[test]
fn nothing_is_appended_to_what_is_not_known() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut journal = Journal::open(scratch.path()).expect("a new journal");
    append(&mut journal, &[accepted(0)]);
    // As a write leaves it that failed in the middle, and could not be taken back.
    journal.file.write_all(b"half of a record").expect("written");
    journal.is_doubtful = true;
    append(&mut journal, &[starting(0)]);
    append(&mut journal, &[accepted(1)]);
    drop(journal);
    let journal = Journal::open(scratch.path()).expect("the same journal");
    assert_eq!(journal.entries(), sum(&[accepted(0), starting(0), accepted(1)]));
    assert!(!journal.is_damaged());
}

#[test]
fn who_lacks_room_is_told_from_a_disk_that_fails() {
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE] {
        assert_eq!(refusal(&errno.into()), Some(Written::NoRoom), "{errno}");
    }
    for errno in [Errno::IO, Errno::ROFS, Errno::ACCESS] {
        assert_eq!(refusal(&errno.into()), Some(Written::Failed(errno)), "{errno}");
    }
    assert_eq!(refusal(&io::Error::other("a record that is too long")), None, "the disk has nothing to do with it");
}

fn number_of(journal: &Journal) -> u64 {
    fs::metadata(journal.path()).expect("the journal").ino()
}

#[test]
fn what_a_disk_did_not_take_goes_into_a_new_file_with_all_that_was_known() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut journal = Journal::open(scratch.path()).expect("a new journal");
    append(&mut journal, &[accepted(0)]);
    let before = number_of(&journal);
    // It takes whatever is written, and cannot sync it.
    journal.file = File::options().append(true).open("/dev/null").expect("it is everywhere");
    assert_eq!(journal.append(&[starting(0)]).expect("no end"), Written::Failed(Errno::INVAL));
    // Nothing can be written there.
    let new = scratch.path().join("journal.new");
    fs::create_dir(&new).expect("made");
    for _ in 0..2 {
        assert_eq!(journal.append(&[starting(0)]).expect("no end"), Written::Failed(Errno::ISDIR));
        assert_eq!(journal.entries(), sum(&[accepted(0)]), "nothing is known that is not durable");
    }
    fs::remove_dir(&new).expect("removed");
    append(&mut journal, &[starting(0)]);
    append(&mut journal, &[accepted(1)]);
    assert_ne!(number_of(&journal), before, "what could not be synced is not believed any more");
    drop(journal);
    let journal = Journal::open(scratch.path()).expect("the same journal");
    assert_eq!(journal.entries(), sum(&[accepted(0), starting(0), accepted(1)]));
    assert!(!journal.is_damaged());
}

/// The kernel says of a sync that has failed that all is well when it is asked again.
#[test]
fn a_sync_that_failed_is_not_believed_when_it_succeeds_the_next_time() {
    let scratch = tempfile::tempdir().expect("a directory");
    let Some(disk) = BadDisk::thin(scratch.path()).expect("a disk") else { return };
    let mut journal = Journal::open(disk.path()).expect("a new journal");
    let mut known = vec![accepted(0), starting(0)];
    append(&mut journal, &known);
    disk.starve().expect("it starves");
    // The block that it ends in is on the disk already, and takes some more.
    let more: Vec<_> = (1..50).map(accepted).collect();
    for _ in 0..5 {
        assert_ne!(journal.append(&more).expect("no end"), Written::Durable);
        assert_eq!(journal.entries(), sum(&known));
    }
    disk.feed().expect("it is fed");
    append(&mut journal, &more);
    known.extend(more);
    drop(journal);
    // What was only in memory is gone now.
    disk.mount_again().expect("it is mounted");
    let journal = Journal::open(disk.path()).expect("the same journal");
    assert_eq!(journal.entries(), sum(&known));
    assert!(!journal.is_damaged());
}

#[test]
fn a_disk_that_has_become_read_only_still_has_what_was_durable() {
    let scratch = tempfile::tempdir().expect("a directory");
    let Some(disk) = BadDisk::thin(scratch.path()).expect("a disk") else { return };
    let mut journal = Journal::open(disk.path()).expect("a new journal");
    append(&mut journal, &[accepted(0)]);
    disk.fail().expect("it has failed");
    for _ in 0..3 {
        assert_eq!(journal.append(&[starting(0)]).expect("no end"), Written::Failed(Errno::ROFS));
    }
    drop(journal);
    disk.mount_again().expect("it is mounted");
    let mut journal = Journal::open(disk.path()).expect("the same journal");
    assert_eq!(journal.entries(), sum(&[accepted(0)]));
    append(&mut journal, &[starting(0)]);
}

#[test]
fn a_full_disk_takes_what_ends_and_nothing_that_begins() {
    let scratch = tempfile::tempdir().expect("a directory");
    let Some((volume, disk)) = small_disk(scratch.path()) else { return };
    let mut journal = Journal::open(&disk).expect("a new journal");
    let mut known = vec![accepted(0), starting(0)];
    append(&mut journal, &known);
    let filler = fill(&disk);
    assert!(volume.is_full(None));
    // At first there is what was reserved ahead.
    let mut next = 1;
    loop {
        let batch: Vec<_> = (next..next + 50).map(accepted).collect();
        match journal.append(&batch).expect("the disk is good") {
            Written::NoRoom => break,
            Written::Failed(error) => panic!("the disk is good: {error}"),
            Written::Durable => known.extend(batch),
        }
        next += 50;
    }
    assert!((51..1000).contains(&next), "{next} began");
    let ends: Vec<_> = (0..next).flat_map(|index| [starting(index), finished(index)]).collect();
    append(&mut journal, &ends);
    known.extend(ends);
    // What is kept is used up some time too. Nothing of what finds no room is there.
    let more: Vec<_> = (0..next).map(finished).collect();
    let tries = (0..100).take_while(|_| journal.append(&more).expect("the disk is good") == Written::Durable).count();
    assert!(tries < 100, "a disk that is full takes more and more");
    drop(journal);
    let mut journal = Journal::open(&disk).expect("the same journal");
    assert!(!journal.is_damaged());
    assert_eq!(journal.entries(), sum(&known));
    assert_eq!(journal.append(&[accepted(next)]).expect("the disk is good"), Written::NoRoom);

    fs::remove_file(filler).expect("removed");
    rustix::fs::syncfs(File::open(&disk).expect("the disk")).expect("the room is free");
    append(&mut journal, &[accepted(next)]);
    known.push(accepted(next));
    drop(journal);
    assert_eq!(Journal::open(&disk).expect("the same journal").entries(), sum(&known));
    volume.close().expect("closed");
}

#[test]
fn what_begins_leaves_the_room_alone_also_where_the_file_is_not_known() {
    let scratch = tempfile::tempdir().expect("a directory");
    let Some((volume, disk)) = small_disk(scratch.path()) else { return };
    let mut journal = Journal::open(&disk).expect("a new journal");
    append(&mut journal, &[accepted(0)]);
    // What was reserved has gone to somebody else, and there is a little more than a new file takes.
    journal.file.set_len(journal.length).expect("given back");
    journal.reserved = 0;
    let filler = File::options().write(true).open(fill(&disk)).expect("the filler");
    filler.set_len(filler.metadata().expect("its length").len() - (256 << 10)).expect("shorter");
    rustix::fs::syncfs(&filler).expect("the room is free");
    journal.is_doubtful = true;
    assert_eq!(journal.append(&[accepted(1)]).expect("the disk is good"), Written::NoRoom);
    append(&mut journal, &[starting(0)]);
    drop(journal);
    assert_eq!(Journal::open(&disk).expect("the same journal").entries(), sum(&[accepted(0), starting(0)]));
    volume.close().expect("closed");
}
