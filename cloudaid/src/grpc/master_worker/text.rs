//! Bytes as text, in pieces: a character that is cut in two waits for its other half, and what is no UTF-8 is replaced.

/// What of one stream is still to come.
#[derive(Debug, Default)]
pub(super) struct Lossy {
    /// The beginning of a character.
    rest: Vec<u8>,
}

impl Lossy {
    /// The next piece as text; maybe nothing.
    pub(super) fn next(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() - unfinished(&self.rest);
        let text = String::from_utf8_lossy(&self.rest[..whole]).into_owned();
        self.rest.drain(..whole);
        text
    }

    /// What is left when nothing more comes.
    pub(super) fn end(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned()
    }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    for start in tail..bytes.len() {
        match std::str::from_utf8(&bytes[start..]) {
            Ok(_) => return 0,
            Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => return bytes.len() - start,
            Err(_) => {}
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_are_cut_come_whole() {
        let text = "a\u{e4}\u{20ac}\u{1f600}z";
        for size in 1..=text.len() {
            let mut lossy = Lossy::default();
            let mut read: String = text.as_bytes().chunks(size).map(|piece| lossy.next(piece)).collect();
            read.push_str(&lossy.end());
            assert_eq!(read, text, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        let mut lossy = Lossy::default();
        assert_eq!(lossy.next(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(lossy.next(b"\xe2\x82"), "");
        assert_eq!(lossy.end(), "\u{fffd}");
    }
}
