//! Points in time as people write them.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use shared::time::WallTime;

use crate::exit::CtlError;

/// A point in time, a day, or a span before now; as RFC 3339.
pub(super) fn parse_since(flag: &str, text: &str, now: &Zoned) -> Result<String, CtlError> {
    let timestamp = || text.parse::<Timestamp>().ok();
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::system()).ok().map(|day| day.timestamp());
    let before = || {
        let span = text.parse::<Span>().ok()?.abs();
        now.checked_sub(span).ok().map(|then| then.timestamp())
    };
    match timestamp().or_else(day).or_else(before) {
        Some(since) => Ok(WallTime(since.as_millisecond()).to_string()),
        None => Err(CtlError::usage(
            format!("{flag}: `{}` is not a time", text.escape_debug()),
            "give one such as 2026-11-23T17:00:00Z, 2026-11-23, 30m, 2h or 7d",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_understood_as_people_write_them() {
        let now: Zoned = "2026-11-23T12:00:00Z[UTC]".parse().expect("a time");
        for (text, since) in [
            ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00.000Z"),
            ("2026-11-23T10:00:00+02:00", "2026-11-23T08:00:00.000Z"),
            ("30m", "2026-11-23T11:30:00.000Z"),
            ("2h", "2026-11-23T10:00:00.000Z"),
            ("7d", "2026-11-16T12:00:00.000Z"),
        ] {
            assert_eq!(parse_since("--since", text, &now).expect(text), since);
        }
        assert!(parse_since("--since", "2026-11-23", &now).is_ok());
        for bad in ["", "yesterday", "5", "2026-13-01"] {
            assert_eq!(parse_since("--since", bad, &now).expect_err(bad).exit(), 2);
        }
    }
}
