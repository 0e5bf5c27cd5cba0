//! Text and logs from elsewhere, made harmless for a terminal.

use std::borrow::Cow;

use shared::text::is_active;

/// Escapes a log that comes in pieces. Line ends (also those of DOS) and tabs stay; a character cut in two by a piece's
/// end is put together again.
#[derive(Debug, Default)]
pub(crate) struct LogEscaper {
    /// The beginning of a character or line end whose end has not come yet: at most 3 bytes.
    pending: Vec<u8>,
}

impl LogEscaper {
    /// What of the log can be shown after this piece.
    pub(crate) fn push(&mut self, piece: &[u8]) -> String {
        let bytes = [std::mem::take(&mut self.pending), piece.to_vec()].concat();
        let mut out = String::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        if let Some(before) = rest.strip_suffix(b"\r") {
            self.pending.push(b'\r');
            rest = before;
        }
        while !rest.is_empty() {
            let (valid, invalid) = match std::str::from_utf8(rest) {
                Ok(text) => (text, None),
                Err(error) => {
                    let (valid, _) = rest.split_at(error.valid_up_to());
                    (std::str::from_utf8(valid).unwrap_or_default(), Some(error.error_len()))
                }
            };
            escape_log(valid, &mut out);
            rest = &rest[valid.len()..];
            match invalid {
                None => {}
                // Cut off at the end of the piece.
                Some(None) => {
                    self.pending.splice(..0, rest.iter().copied());
                    break;
                }
                Some(Some(length)) => {
                    let (bad, after) = rest.split_at(length);
                    escape_bytes(bad, &mut out);
                    rest = after;
                }
            }
        }
        out
    }

    /// What is left when the log has ended.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        match std::mem::take(&mut self.pending).as_slice() {
            b"\r" => out.push_str("\\r"),
            pending => escape_bytes(pending, &mut out),
        }
        out
    }
}

/// Results with line ends and tabs, and nothing else that a terminal would heed.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, [u8]> {
    visible(bytes, |c, out| out.extend(c.escape_default()))
}

/// JSON that says the same, and that a terminal only shows.
pub(super) fn json(bytes: &[u8]) -> Cow<'_, [u8]> {
    visible(bytes, |c, out| {
        // Such a character can only stand in a string.
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

fn visible(bytes: &[u8], escape: impl Fn(char, &mut String)) -> Cow<'_, [u8]> {
    let is_harmful = |c: char| is_active(c) && !matches!(c, '\n' | '\t');
    let text = String::from_utf8_lossy(bytes);
    if !text.contains(is_harmful) {
        return Cow::Borrowed(bytes);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) { escape(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out.into_bytes())
}

fn escape_log(text: &str, out: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\t' => out.push(c),
            c if is_active(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
}

fn escape_bytes(bytes: &[u8], out: &mut String) {
    out.extend(bytes.iter().map(|byte| format!("\\x{byte:02x}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_cannot_command_the_terminal_either() {
        let harmful = "a\tb\n\u{1b}[31m\u{9b}1m\u{202e}x";
        assert_eq!(text(harmful.as_bytes()).as_ref(), "a\tb\n\\u{1b}[31m\\u{9b}1m\\u{202e}x".as_bytes());
        let value = serde_json::json!({"name": harmful});
        let shown = json(value.to_string().as_bytes()).into_owned();
        let shown = String::from_utf8(shown).expect("text");
        assert!(!shown.contains(is_active), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("json"), value);
        assert!(matches!(json(b"{}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_log_keeps_its_lines_but_cannot_command_the_terminal() {
        let mut escaper = LogEscaper::default();
        assert_eq!(escaper.push(b"a\tb\n\x1b]0;x\x07\r\n"), "a\tb\n\\u{1b}]0;x\\u{7}\n");
    }

    #[test]
    fn only_a_line_end_may_have_a_carriage_return() {
        for step in 1..6 {
            let mut escaper = LogEscaper::default();
            let shown: String = b"a\r\nb\rc\r".chunks(step).map(|piece| escaper.push(piece)).collect();
            assert_eq!(shown + &escaper.finish(), "a\nb\\rc\\r", "by {step}");
        }
    }

    #[test]
    fn a_character_cut_in_two_is_put_together() {
        let mut escaper = LogEscaper::default();
        let (head, tail) = "✓".as_bytes().split_at(2);
        assert_eq!(escaper.push(head), "");
        assert_eq!(escaper.push(tail), "✓");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        let mut escaper = LogEscaper::default();
        assert_eq!(escaper.push(b"a\xffb\xe2\x9c"), "a\\xffb");
        assert_eq!(escaper.finish(), "\\xe2\\x9c");
        assert_eq!(escaper.finish(), "");
    }
}
