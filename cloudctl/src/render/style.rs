//! How text, times and sizes are shown.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use shared::resources::Bytes;
use shared::text::printable;
use shared::time::WallTime;

use super::text::ago;

/// What stdout can show, and what the person wants to see.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    /// Columns to fit into; none: lines may be of any length.
    pub(crate) width: Option<u16>,
    /// Whether to colour.
    pub(crate) colour: bool,
    /// Whether a person looks at it, so that control characters must not get through.
    pub(crate) terminal: bool,
    /// Exact times and sizes, and text as it is.
    pub(crate) raw: bool,
    /// Of times.
    pub(crate) zone: TimeZone,
}

impl Default for Style {
    /// No terminal, in UTC.
    fn default() -> Self {
        Self { width: None, colour: false, terminal: false, raw: false, zone: TimeZone::UTC }
    }
}

impl Style {
    /// Text from elsewhere.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.raw { Cow::Borrowed(text) } else { Cow::Owned(printable(text)) }
    }

    /// A point in time: `2026-11-23 18:02:03`, raw `2026-11-23T17:02:03.000Z`.
    pub(crate) fn time(&self, time: WallTime) -> String {
        if self.raw {
            return time.to_string();
        }
        match Timestamp::from_millisecond(time.0) {
            Ok(timestamp) => timestamp.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => time.to_string(),
        }
    }

    /// How long ago; raw the time itself.
    pub(crate) fn ago(&self, now: WallTime, then: WallTime) -> String {
        if self.raw { then.to_string() } else { ago(now, then) }
    }

    /// A point in time, and how long ago it was; raw the time only.
    pub(crate) fn time_and_ago(&self, now: WallTime, then: WallTime) -> String {
        if self.raw { then.to_string() } else { format!("{} ({})", self.time(then), ago(now, then)) }
    }

    /// A number of bytes: `1.5 KiB`, raw `1536`.
    pub(crate) fn size(&self, bytes: u64) -> String {
        if self.raw { bytes.to_string() } else { Bytes(bytes).to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: WallTime = WallTime(1_700_000_000_123);
    const NOW: WallTime = WallTime(THEN.0 + 7_200_000);

    #[test]
    fn people_get_local_times_and_rounded_sizes() {
        let style = Style { zone: TimeZone::fixed(jiff::tz::offset(1)), ..Style::default() };
        assert_eq!(style.time(THEN), "2023-11-14 23:13:20");
        assert_eq!(style.time_and_ago(NOW, THEN), "2023-11-14 23:13:20 (2h ago)");
        assert_eq!(style.size(1536), "1.5 KiB");
        assert_eq!(style.text("a\x1b[2J"), "a\\u{1b}[2J");
    }

    #[test]
    fn raw_is_exact() {
        let style = Style { raw: true, ..Style::default() };
        assert_eq!(style.time_and_ago(NOW, THEN), "2023-11-14T22:13:20.123Z");
        assert_eq!(style.size(1536), "1536");
        assert_eq!(style.text("a\x1b[2J"), "a\x1b[2J");
    }
}
