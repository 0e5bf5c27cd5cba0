//! How much room a file takes.

use rustix::fs::Stat;

/// Bytes of what `st_blocks` counts.
const BLOCK: u64 = 512;
/// Bytes that a file system gives at a time, as most do.
pub(crate) const UNIT: u64 = 4096;

/// Bytes on the disk: blocks and not the length, because a file may have holes; but no more than its length takes, because some
/// file systems give a file that grows more than it has. Each name of a file counts its share of it.
pub(crate) fn file_bytes(stat: &Stat) -> u64 {
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let blocks = number(stat.st_blocks).saturating_mul(BLOCK);
    let length = number(stat.st_size).div_ceil(UNIT).saturating_mul(UNIT);
    blocks.min(length) / stat.st_nlink.max(1)
}
