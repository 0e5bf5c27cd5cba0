//! Log lines for people: time, level, message, fields.

use std::error::Error;
use std::fmt::{self, Write};

use shared::time::WallTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use shared::text::printable;

/// `2026-11-23T17:42:39.120Z INFO Worker registration: worker-1 attempt=2`, then the fields of the spans around it.
#[derive(Debug)]
pub(super) struct TextEvent;

impl<S> FormatEvent<S, TextFields> for TextEvent
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, TextFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        Clock.format_time(&mut writer)?;
        writer.write_char(' ')?;
        write_level(&mut writer, *event.metadata().level())?;
        let mut line = Line::default();
        event.record(&mut line);
        line.write_to(&mut writer)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<TextFields>>() {
                writer.write_str(fields)?;
            }
        }
        writeln!(writer)
    }
}

fn write_level(writer: &mut Writer<'_>, level: Level) -> fmt::Result {
    if !writer.has_ansi_escapes() {
        return write!(writer, "{level}");
    }
    let colour = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        _ => 2,
    };
    write!(writer, "\u{1b}[{colour}m{level}\u{1b}[0m")
}

/// Fields of spans in the same form.
#[derive(Debug)]
pub(super) struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line::default();
        fields.record(&mut line);
        line.write_to(&mut writer)
    }
}

/// UTC with milliseconds, as everywhere else.
#[derive(Debug)]
pub(super) struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", WallTime(jiff::Timestamp::now().as_millisecond()))
    }
}

/// What an event or a span carries, escaped.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn write_to(&self, writer: &mut Writer<'_>) -> fmt::Result {
        if !self.message.is_empty() {
            write!(writer, " {}", self.message)?;
        }
        writer.write_str(&self.fields)
    }

    fn push(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            self.message = printable(text);
        } else {
            // Writing into a String cannot fail.
            let _ = write!(self.fields, " {}={}", field.name(), printable(text));
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        let is_plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || "\"=".contains(c));
        if is_plain || field.name() == "message" {
            self.push(field, value);
        } else {
            self.push(field, &format!("\"{}\"", value.replace('"', "\\\"")));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            // Writing into a String cannot fail.
            let _ = write!(text, ": {error}");
            source = error.source();
        }
        self.push(field, &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, &format!("{value:?}"));
    }
}
