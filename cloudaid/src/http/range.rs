//! Byte ranges of a download (RFC 9110, 14): one range, or the whole.

use axum::http::HeaderValue;

/// What to send of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// From the first to the last byte, both included.
    Range {
        /// 0-based.
        first: u64,
        /// Not before `first`.
        last: u64,
    },
    /// No byte of the file is in the range.
    Unsatisfiable,
}

/// What a `Range` header asks of a file of `size` bytes. A header that is not understood, or that asks for several
/// ranges, is ignored, as the standard allows.
pub(super) fn parse(header: Option<&HeaderValue>, size: u64) -> Part {
    let text = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Part::Whole;
    };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first.trim(), last.trim()) {
        ("", count) => match number(count) {
            None => Part::Whole,
            Some(count) if count == 0 || size == 0 => Part::Unsatisfiable,
            Some(count) => Part::Range { first: size.saturating_sub(count), last: size - 1 },
        },
        (first, last) => {
            let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            match (number(first), last) {
                (Some(first), Some(last)) if first > last => Part::Whole,
                (Some(first), Some(_)) if first >= size => Part::Unsatisfiable,
                (Some(first), Some(last)) => Part::Range { first, last: last.min(size - 1) },
                _ => Part::Whole,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str, size: u64) -> Part {
        parse(Some(&text.parse().expect("a header")), size)
    }

    #[test]
    fn ranges() {
        let range = |first, last| Part::Range { first, last };
        for (text, expected) in [
            ("bytes=0-0", range(0, 0)),
            ("bytes=0-", range(0, 9)),
            ("bytes=3-5", range(3, 5)),
            ("bytes=9-", range(9, 9)),
            ("bytes=5-99999999999999999999999", range(5, 9)),
            ("bytes=-3", range(7, 9)),
            ("bytes=-99", range(0, 9)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=99-100", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=5-3", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("items=0-1", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(text, 10), expected, "{text}");
        }
        assert_eq!(parse(None, 10), Part::Whole);
        assert_eq!(part("bytes=0-", 0), Part::Unsatisfiable);
        assert_eq!(part("bytes=-1", 0), Part::Unsatisfiable);
    }
}
