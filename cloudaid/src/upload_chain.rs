//! What an upload has brought so far, in one digest: master and worker agree with it on where to go on.

/// Of nothing.
pub(crate) const START: [u8; 32] = [0; 32];

/// With one more file.
#[must_use]
pub(crate) fn extend(chain: [u8; 32], path: &[u8], size: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&chain);
    hasher.update(&(path.len() as u64).to_le_bytes());
    hasher.update(path);
    hasher.update(&size.to_le_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sizes_and_order_count() {
        let of = |files: &[(&[u8], u64)]| files.iter().fold(START, |chain, (path, size)| extend(chain, path, *size));
        let chain = of(&[(b"a", 1), (b"b", 2)]);
        assert_eq!(of(&[(b"a", 1), (b"b", 2)]), chain);
        let others: [&[(&[u8], u64)]; 5] =
            [&[(b"b", 2), (b"a", 1)], &[(b"a", 1)], &[(b"a", 1), (b"b", 3)], &[(b"a", 1), (b"c", 2)], &[]];
        for other in others {
            assert_ne!(of(other), chain);
        }
    }
}
