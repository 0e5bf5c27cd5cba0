//! Text from strangers, made safe to show.

/// `text` with every control character (terminal escapes begin with one) written as `\n`, `\t` or `\u{1b}`. Letters of
/// any script stay as they are.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_active(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The same of no more than `limit` bytes of it, and cut at that: what is escaped is longer than it was.
#[must_use]
pub fn printable_start(text: &str, limit: usize) -> String {
    let mut safe = printable(&text[..text.floor_char_boundary(limit)]);
    safe.truncate(safe.floor_char_boundary(limit));
    safe
}

/// Whether a terminal would act on the character, or would show the line other than it is: control characters, line and
/// paragraph separators, marks and overrides of the direction of writing, the invisible joiner.
#[must_use]
pub fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_terminal_comes_through() {
        assert_eq!(printable("plain ünï \"quotes\" \\"), "plain ünï \"quotes\" \\");
        assert_eq!(printable("a\u{1b}[31mb\u{7f}\u{9b}\n"), "a\\u{1b}[31mb\\u{7f}\\u{9b}\\n");
        assert_eq!(printable("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
    }
}
