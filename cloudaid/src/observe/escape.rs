//! Texts of others, made safe for a terminal.

/// `text` with its control characters, and those that change the direction of writing, escaped; all else stays.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) { printable.extend(c.escape_debug()) } else { printable.push(c) }
    }
    printable
}

/// Line and paragraph separators, marks and overrides of direction, isolates, and the invisible joiner.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_obeyed_is_escaped() {
        assert_eq!(printable("✓ \"ü\" 日本 \\"), "✓ \"ü\" 日本 \\");
        assert_eq!(printable("a\0\n\u{7f}\u{85}\u{202d}"), "a\\0\\n\\u{7f}\\u{85}\\u{202d}");
    }
}
