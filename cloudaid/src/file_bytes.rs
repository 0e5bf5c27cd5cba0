//! How much room a file takes.

use rustix::fs::Stat;

/// Bytes of what `st_blocks` counts.
pub(crate) const BLOCK: u64 = 512;
/// What XFS gives a file that grows, beside as much again as it has.
const AHEAD: u64 = 128 * 1024;
/// Bytes that a file system gives at a time, as most do.
pub(crate) const UNIT: u64 = 4096;

/// Bytes on the disk: blocks and not the length, because a file may have holes; but no more than its length takes, because some
/// file systems give a file that grows more than it has, unless that is more than they would ever give. None is less than one
/// [`UNIT`], also where nothing is in it: a disk has only so many. Each name of a file counts its share of it.
pub(crate) fn file_bytes(stat: &Stat) -> u64 {
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let blocks = number(stat.st_blocks).saturating_mul(BLOCK);
    let length = number(stat.st_size).div_ceil(UNIT).saturating_mul(UNIT);
    let ahead = length.saturating_mul(2).saturating_add(AHEAD);
    // A program can have more than its length takes, and never fill it.
    let bytes = if blocks > ahead { blocks } else { blocks.min(length) };
    bytes.max(UNIT) / stat.st_nlink.max(1)
}
