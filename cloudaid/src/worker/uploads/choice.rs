//! Which files there is room for.

use cloudaid_core::files::FileUsage;
use shared::resources::Bytes;

use crate::worker::outputs::{Notes, OutputFile, shown};

/// Takes files in their order, as long as they fit.
pub(super) struct Choice {
    /// None: anything.
    room: Option<FileUsage>,
    taken: FileUsage,
    left_out: Notes,
}

impl Choice {
    pub(super) fn new(room: Option<FileUsage>) -> Self {
        Self { room, taken: FileUsage::default(), left_out: Notes::default() }
    }

    /// Whether it fits; else there is a note of it.
    pub(super) fn takes(&mut self, file: &OutputFile) -> bool {
        let more = self.taken.plus(FileUsage { bytes: file.size, files: 1 });
        match self.room.filter(|room| !more.fits(*room)) {
            None => {
                self.taken = more;
                true
            }
            Some(room) => {
                let (path, size) = (shown(&file.path), Bytes(file.size));
                self.left_out.add(format!(
                    "skipped file for which its user has no room: {path}, {size} of {} free",
                    Bytes(room.bytes)
                ));
                false
            }
        }
    }

    /// One that was taken is not brought: its room is that of others.
    pub(super) fn put_back(&mut self, file: &OutputFile) {
        self.taken.bytes = self.taken.bytes.saturating_sub(file.size);
        self.taken.files = self.taken.files.saturating_sub(1);
    }

    pub(super) fn finish(self) -> Vec<String> {
        self.left_out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size: u64) -> OutputFile {
        OutputFile { path: path.as_bytes().to_vec(), size }
    }

    #[test]
    fn what_there_is_room_for_is_taken_and_the_rest_is_named() {
        let mut choice = Choice::new(Some(FileUsage { bytes: 10, files: 2 }));
        let files = [file("a", 3), file("huge", 1 << 40), file("z", 4), file("zz", 1)];
        assert_eq!(files.each_ref().map(|file| choice.takes(file)), [true, false, true, false]);
        let notes = [
            "skipped file for which its user has no room: huge, 1 TiB of 10 B free",
            "skipped file for which its user has no room: zz, 1 B of 10 B free",
        ];
        choice.put_back(&files[2]);
        assert!(choice.takes(&files[2]), "its room is free again");
        assert_eq!(choice.finish(), notes);
        assert!(Choice::new(None).takes(&files[1]));
    }
}
