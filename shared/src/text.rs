//! Text from strangers, made safe to show.

use std::borrow::Cow;

/// `text` with every control character (terminal escapes begin with one) written as `\n`, `\t` or `\u{1b}`. Letters of
/// any script stay as they are.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Control characters, and those that turn the direction of text around.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
