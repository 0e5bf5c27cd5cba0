//! How much of a log is kept.
//!
//! What a program has written counts, and not what stands beside it in the files: that is little where much came together, but
//! a record of its own for each line where lines came one by one. So there is a second bound, for the files.

/// Parts of what is kept that the beginning is one of.
const HEAD_OF: u64 = 4;
/// Parts of what is kept that each stream has one of for its beginning, and one for its end, whatever the other writes.
const RESERVE_OF: u64 = 16;
/// And the most of that. It is copied when what it stands among goes.
const RESERVE_MOST: u64 = 4 * 1024 * 1024;
/// Files that the end is kept in. More would cut more exactly, and cost more names.
const FILES: u64 = 8;
/// How many times as much the files may take: as much as lines of ten bytes do of which each came alone.
const FOLD: u64 = 4;
/// The least that makes sense: less than that, and nobody learns much from it.
pub const KEEP_MIN: u64 = 64 * 1024;

/// Bytes of a log, or of a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    /// That a program has written.
    pub(super) data: u64,
    /// That they take, but for what files begin with.
    pub(super) disk: u64,
}

impl Size {
    const ALL: Self = Self { data: u64::MAX, disk: u64::MAX };

    /// A bound by what was written.
    fn bound(data: u64) -> Self {
        Self { data, disk: data.saturating_mul(FOLD) }
    }

    pub(super) fn is_within(self, most: Self) -> bool {
        self.data <= most.data && self.disk <= most.disk
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { data: self.data.saturating_add(other.data), disk: self.disk.saturating_add(other.disk) }
    }

    /// What is left without `other`; none if that is more.
    pub(super) fn without(self, other: Self) -> Option<Self> {
        Some(Self { data: self.data.checked_sub(other.data)?, disk: self.disk.checked_sub(other.disk)? })
    }
}

/// The bounds of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Of all of it.
    pub(super) most: Size,
    /// Of the first file, the beginning of the log.
    head: Size,
    /// Of each later one. The oldest of them goes when there is too much of all.
    file: Size,
    /// So many bytes of its beginning and of its end each stream keeps, if it has written them.
    pub(super) reserve: u64,
}

impl Keep {
    /// Everything.
    pub const ALL: Self = Self { most: Size::ALL, head: Size::ALL, file: Size::ALL, reserve: 0 };

    /// At most so many bytes of what is written, at least [`KEEP_MIN`]: a quarter from the beginning, the rest from the end; and
    /// of each stream at least a sixteenth of both, up to 4 MiB. The files take at most four times as much.
    #[must_use]
    pub fn at_most(bytes: u64) -> Self {
        Self::exactly(bytes.max(KEEP_MIN))
    }

    /// The same, however little it is.
    pub(super) fn exactly(bytes: u64) -> Self {
        let head = bytes / HEAD_OF;
        let reserve = (bytes / RESERVE_OF).min(RESERVE_MOST);
        Self { most: Size::bound(bytes), head: Size::bound(head), file: Size::bound((bytes - head) / FILES), reserve }
    }

    /// How large the file may become that is the beginning, or is not.
    pub(super) fn of_file(self, is_head: bool) -> Size {
        if is_head { self.head } else { self.file }
    }
}
