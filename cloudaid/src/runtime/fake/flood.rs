//! Output without end that needs no memory, and that is known at every place.

use bytes::Bytes;

/// Bytes of one piece.
pub(super) const PIECE: usize = 64 * 1024;
/// Bytes of one line, with its end.
const LINE: usize = 64;
/// A line says where it is in each so many bytes.
const NUMBERED: usize = 4096;

/// What stands in the first `total` bytes of a flood from `offset` on, as much as one piece holds.
#[must_use]
pub fn flood(offset: u64, total: u64) -> Bytes {
    let begin = offset / NUMBERED as u64;
    let skip = usize::try_from(offset % NUMBERED as u64).unwrap_or_default();
    let mut bytes = [b'.'; PIECE];
    for line in bytes.chunks_mut(LINE) {
        line[LINE - 1] = b'\n';
    }
    for (number, block) in (begin..).zip(bytes.chunks_mut(NUMBERED)) {
        block[..16].copy_from_slice(format!("{number:016x}").as_bytes());
    }
    let left = usize::try_from(total.saturating_sub(offset)).unwrap_or(PIECE);
    Bytes::copy_from_slice(&bytes[skip..PIECE.min(left.saturating_add(skip))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_its_bytes_however_it_is_read() {
        let whole: Vec<u8> = (0..4).flat_map(|piece| flood(piece * PIECE as u64, u64::MAX)).collect();
        let mut at = 0;
        while at < whole.len() {
            let piece = flood(at as u64, whole.len() as u64);
            assert!(!piece.is_empty() && whole[at..].starts_with(&piece), "at {at}");
            at += piece.len().min(7_777);
        }
        assert_eq!(flood(0, 5).len(), 5);
        assert!(flood(5, 5).is_empty());
    }
}
