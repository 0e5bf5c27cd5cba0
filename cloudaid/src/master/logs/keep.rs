//! How much of a log is kept.

/// Parts of what is kept that the beginning is one of.
const HEAD_OF: u64 = 4;
/// Files that the end is kept in. More would cut more exactly, and cost more names.
const FILES: u64 = 8;
/// The least that makes sense: less than that and the frames are the larger part.
pub const KEEP_MIN: u64 = 64 * 1024;

/// The bounds of one log on the disk, in bytes: its data and 30 bytes for each piece in which they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Of the first file, the beginning of the log.
    pub(super) head: u64,
    /// Of each later one.
    pub(super) file: u64,
    /// Of all later ones. The oldest of them goes when there is more.
    pub(super) tail: u64,
}

impl Keep {
    /// Everything.
    pub const ALL: Self = Self { head: u64::MAX, file: u64::MAX, tail: u64::MAX };

    /// At most so many bytes, at least [`KEEP_MIN`]: a quarter from the beginning, the rest from the end.
    #[must_use]
    pub fn at_most(bytes: u64) -> Self {
        let bytes = bytes.max(KEEP_MIN);
        let head = bytes / HEAD_OF;
        Self { head, file: (bytes - head) / FILES, tail: bytes - head }
    }

    /// How large the file may become that is the beginning, or is not.
    pub(super) fn of_file(self, is_head: bool) -> u64 {
        if is_head { self.head } else { self.file }
    }
}
