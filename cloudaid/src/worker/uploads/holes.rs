//! Files with holes. They read as zeros, and are brought and kept as such: a file that takes nothing here takes its whole
//! length there. So holes are brought as far as they are no more than the task may store.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use shared::resources::Bytes;

use crate::file_bytes::BLOCK;
use crate::worker::outputs::{Notes, shown};

/// Takes files in their order, as long as there are not too many holes in them.
pub(super) struct Holes {
    /// What all holes together may come to; none: anything.
    limit: Option<u64>,
    taken: u64,
    left_out: Notes,
}

impl Holes {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self { limit, taken: 0, left_out: Notes::default() }
    }

    /// Whether a file, open at its begin, is brought; else there is a note of it.
    pub(super) fn take(&mut self, path: &[u8], file: &File, metadata: &Metadata) -> io::Result<bool> {
        let Some(limit) = self.limit else { return Ok(true) };
        let left = limit.saturating_sub(self.taken);
        let holes = holes(file, metadata, left)?;
        if holes <= left {
            self.taken = self.taken.saturating_add(holes);
            return Ok(true);
        }
        self.left_out.add(format!(
            "skipped file with holes: {}, {} long, of which {} are stored; all holes together may be no more than the {} that the task may store",
            shown(path),
            Bytes(metadata.len()),
            Bytes(stored(metadata)),
            Bytes(limit)
        ));
        Ok(false)
    }

    pub(super) fn finish(self) -> Vec<String> {
        self.left_out.finish()
    }
}

fn stored(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(BLOCK)
}

/// Bytes in holes; once they are more than `enough` the rest is not looked at. What is allocated and not written yet is none,
/// and neither is what the file system stores in less than its length. The file is left at its begin.
fn holes(file: &File, metadata: &Metadata, enough: u64) -> io::Result<u64> {
    let length = metadata.len();
    let missing = length.saturating_sub(stored(metadata));
    if missing == 0 {
        return Ok(0);
    }
    let (mut at, mut holes) = (0, 0u64);
    while at < length && holes <= enough {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(length),
            Err(Errno::NXIO) => length,
            // It tells of none.
            Err(_) => break,
        };
        holes = holes.saturating_add(data.saturating_sub(at));
        // One that becomes shorter meanwhile must not be looked at for ever.
        at = seek(file, SeekFrom::Hole(data)).unwrap_or(length).max(data.saturating_add(1));
    }
    seek(file, SeekFrom::Start(0))?;
    Ok(holes.min(missing))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// So long, with a MiB of data at its end.
    fn file(folder: &Path, name: &str, length: u64) -> (File, Metadata) {
        let file = File::options().create_new(true).read(true).write(true).open(folder.join(name)).expect("a file");
        file.write_all_at(&vec![1; 1 << 20], length - MIB).expect("written");
        file.sync_all().expect("it is on the disk");
        let metadata = file.metadata().expect("metadata");
        (file, metadata)
    }

    #[test]
    fn holes_are_taken_as_far_as_the_task_may_store_and_the_rest_is_named() {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut taken = Holes::new(Some(8 * MIB));
        let mut take = |name: &str, length: u64| {
            let (mut file, metadata) = file(scratch.path(), name, length);
            let is_taken = taken.take(name.as_bytes(), &file, &metadata).expect("looked at");
            assert_eq!(io::Seek::stream_position(&mut file).expect("a place"), 0, "it is read from its begin");
            is_taken
        };
        assert!(take("whole", MIB));
        assert!(take("short", 6 * MIB));
        assert!(!take("huge", 99 << 30), "it takes a MiB of this disk");
        assert!(take("next", 4 * MIB));
        assert!(!take("last", 3 * MIB), "all holes count together");
        let notes = taken.finish();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].starts_with("skipped file with holes: huge, 99 GiB long, of which "), "{notes:?}");
        assert!(notes[1].starts_with("skipped file with holes: last, 3 MiB long"), "{notes:?}");
    }

    #[test]
    fn a_note_is_short_however_long_the_path_is() {
        let scratch = tempfile::tempdir().expect("a directory");
        let (file, metadata) = file(scratch.path(), "huge", 99 << 30);
        let mut holes = Holes::new(Some(MIB));
        assert!(!holes.take(&[0xff; 4095], &file, &metadata).expect("looked at"));
        let notes = holes.finish();
        assert!(notes.len() == 1 && notes[0].len() < 4096, "{notes:?}");
    }

    #[test]
    fn what_is_not_known_to_be_limited_is_taken() {
        let scratch = tempfile::tempdir().expect("a directory");
        let (file, metadata) = file(scratch.path(), "huge", 99 << 30);
        assert!(Holes::new(None).take(b"huge", &file, &metadata).expect("looked at"));
    }
}
