//! How long the worker may act on its own, over its restarts: one that is cut off from its master, and starts again and
//! again, has not a whole lease each time.
//!
//! The file is written in place, each time that the master is heard, and never synced. It need not be: what a process has
//! written is there for the next one, however the first was killed, and when the host crashes its containers are gone, and
//! so is the boot that the time counts from. In place, because a full disk has room for that, and at once, because a line
//! that is shorter than a page is not half written.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloudaid_core::agent::{JournalEntry, Lease};
use shared::time::BootTime;

use crate::clock;

/// The file that it is kept in: the boot, and both times in milliseconds, as long whatever they are.
#[derive(Debug, Clone)]
pub(super) struct LeaseFile {
    path: PathBuf,
    /// Whether it could not be written the last time: it is said once, and not with each heartbeat.
    fails: Arc<AtomicBool>,
}

impl LeaseFile {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, fails: Arc::default() }
    }

    /// What an earlier life has left, if that was since the host booted. What cannot be read is as if there was none.
    pub(super) fn load(&self) -> Option<Lease> {
        let read = match fs::read_to_string(&self.path) {
            Ok(content) => clock::boot_id().and_then(|boot_id| parse(&content, &boot_id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        read.unwrap_or_else(|error| {
            tracing::warn!(%error, "{} cannot be read: tasks that may run once at most have a whole lease again", self.path.display());
            None
        })
    }

    pub(super) fn save(&self, lease: Lease) {
        let written = self.write(lease);
        let failed_before = self.fails.swap(written.is_err(), Ordering::Relaxed);
        if let Err(error) = written
            && !failed_before
        {
            // What is there ends sooner; where nothing is, it begins anew.
            tracing::warn!(%error, "{} cannot be written: after a restart the lease is what it was before", self.path.display());
        }
    }

    fn write(&self, Lease { since, length }: Lease) -> io::Result<()> {
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let line = format!("{} {:020} {length:020}\n", clock::boot_id()?, since.0);
        let file = File::options().create(true).truncate(false).write(true).open(&self.path)?;
        file.write_all_at(line.as_bytes(), 0)
    }
}

/// What is left of the lease; none: nothing is known that it could end.
pub(super) fn left(lease: Option<Lease>, journal: &[JournalEntry], now: BootTime) -> Option<Duration> {
    let may_end = |entry: &JournalEntry| {
        let is_once = entry.assignment.as_ref().is_some_and(|assignment| assignment.at_most_once);
        is_once && entry.stop.is_none() && entry.exited.is_none() && entry.outcome.is_none()
    };
    let lease = lease.filter(|_| journal.iter().any(may_end))?;
    Some((lease.since + lease.length).since(now))
}

fn parse(content: &str, boot_id: &str) -> io::Result<Option<Lease>> {
    let line = content.split_once('\n').map(|(line, _)| line);
    let words: Vec<_> = line.unwrap_or_default().split(' ').collect();
    let [boot, since, length] = words[..] else {
        return Err(io::Error::other("it is not a boot and two times"));
    };
    let number = |word: &str| word.parse::<u64>().map_err(io::Error::other);
    let lease = Lease { since: BootTime(number(since)?), length: Duration::from_millis(number(length)?) };
    Ok((boot == boot_id).then_some(lease))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cloudaid_core::agent::{JournalRecord, StopOrder, StopReason};
    use shared::link::Assignment;

    use super::*;
    use crate::worker::tests::{assignment, key};

    #[test]
    fn there_is_a_lease_to_look_at_where_something_ends_with_it() {
        let lease = Some(Lease { since: BootTime(5_000), length: Duration::from_secs(30) });
        let left = |records: &[JournalRecord], now| {
            let mut entries = BTreeMap::new();
            records.iter().for_each(|record| record.apply(&mut entries));
            left(lease, &entries.into_values().collect::<Vec<_>>(), BootTime(now))
        };
        let usual = JournalRecord::Accepted(Arc::new(assignment(0)));
        let once = JournalRecord::Accepted(Arc::new(Assignment { at_most_once: true, ..assignment(1) }));
        let records = [usual, once];
        assert_eq!(left(&records[..1], 30_000), None);
        assert_eq!(left(&records, 30_000), Some(Duration::from_secs(5)));
        assert_eq!(left(&records, 90_000), Some(Duration::ZERO), "it is over");
        let order = StopOrder { grace: Duration::ZERO, reason: StopReason::Person };
        let stopped = [records.to_vec(), vec![JournalRecord::Stopping { key: key(1), order }]].concat();
        assert_eq!(left(&stopped, 30_000), None, "it ends anyway");
    }

    #[test]
    fn the_last_one_is_known_until_the_host_boots() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("lease");
        let file = LeaseFile::at(path.clone());
        assert_eq!(file.load(), None);
        for (since, length) in [(7, 30_000), (u64::MAX, 3_000), (8, 0)] {
            let lease = Lease { since: BootTime(since), length: Duration::from_millis(length) };
            file.save(lease);
            assert_eq!(file.load(), Some(lease));
        }
        let of_another = fs::read_to_string(&path).expect("a file").replace(&clock::boot_id().expect("an id"), "other");
        fs::write(&path, of_another).expect("written");
        assert_eq!(file.load(), None);
    }

    #[test]
    fn what_is_no_lease_is_none_and_is_written_over() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("lease");
        let file = LeaseFile::at(path.clone());
        let lease = Lease { since: BootTime(5), length: Duration::from_secs(30) };
        file.save(lease);
        let whole = fs::read(&path).expect("a file");
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).expect("written");
            assert_eq!(file.load(), None, "cut at {end}");
        }
        for content in [&b"{}\n"[..], b"\xff\xff\n", b"a b c\n", &[b'x'; 500]] {
            fs::write(&path, content).expect("written");
            assert_eq!(file.load(), None);
            file.save(lease);
            assert_eq!(file.load(), Some(lease), "whatever is behind it");
        }
    }

    #[test]
    fn a_full_disk_has_room_for_it() {
        use crate::worker::volume::testkit::{fill, small_disk};
        let scratch = tempfile::tempdir().expect("a directory");
        let Some((volume, disk)) = small_disk(scratch.path()) else { return };
        let file = LeaseFile::at(disk.join("lease"));
        let lease = |since| Lease { since: BootTime(since), length: Duration::from_secs(30) };
        file.save(lease(1));
        fill(&disk);
        assert!(volume.is_full(None));
        file.save(lease(2));
        assert_eq!(file.load(), Some(lease(2)));
        volume.close().expect("closed");
    }
}
