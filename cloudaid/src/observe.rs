//! The log: lines on stderr, for people or for machines.
//!
//! Data never goes there and log lines never go to stdout, so that each can be piped away without the other.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogSettings};

pub mod process;
mod text;

use shared::text::printable;

/// Our own crates; all others are heard from `warn` on.
const OURS: [&str; 2] = ["cloudaid", "cloudaid_core"];
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts the log of this process.
///
/// # Errors
/// It was started before.
pub fn start(settings: &LogSettings) -> Result<(), TryInitError> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = io::stderr().is_terminal() && !no_color;
    tracing_subscriber::registry().with(layer(settings, colour, io::stderr)).try_init()
}

/// The layer that filters, formats and writes.
fn layer<S, W>(settings: &LogSettings, colour: bool, writer: W) -> Box<dyn tracing_subscriber::Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    use tracing_subscriber::Layer;
    let filter = EnvFilter::new(&settings.filter);
    // A reader of the log that has gone away is no reason to fail, nor to say so on the same stream.
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    match settings.format {
        LogFormat::Text => layer
            .with_ansi(colour)
            .fmt_fields(text::TextFields)
            .event_format(text::TextEvent)
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => {
            let layer = layer.json().with_timer(text::Clock).flatten_event(true).with_current_span(false);
            layer.with_filter(filter).boxed()
        }
    }
}

/// A level or a filter as a person writes it, completed: what it does not mention is `info` for our own crates and `warn`
/// for all others.
///
/// # Errors
/// It is neither a level nor a filter.
pub fn filter(text: &str) -> Result<String, String> {
    const HINT: &str = "give error, warn, info, debug or trace, or a filter such as `info,cloudaid::http=debug`";
    let mut level = "info".to_owned();
    let mut directives = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let folded = part.to_ascii_lowercase();
        if LEVELS.contains(&folded.as_str()) {
            level = folded;
        } else if part.contains('=') {
            directives.push(part.to_owned());
        } else {
            // Taken as the name of a module it would silence the rest.
            return Err(format!("`{}` is not a level; {HINT}", printable(part)));
        }
    }
    let others = if level == "off" || level == "error" { level.as_str() } else { "warn" };
    let mut all = vec![others.to_owned()];
    all.extend(OURS.map(|name| format!("{name}={level}")));
    all.extend(directives);
    let all = all.join(",");
    match EnvFilter::builder().parse(&all) {
        Ok(_) => Ok(all),
        Err(error) => Err(format!("`{}` is not a filter: {error}; {HINT}", printable(text))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, colour: bool, log: impl FnOnce()) -> Vec<String> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let settings = LogSettings { format, filter: filter(level).expect("a filter") };
        let subscriber =
            tracing_subscriber::registry().with(layer(&settings, colour, move || -> Buffer { writer.clone() }));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = buffer.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    fn without_time(line: &str) -> &str {
        let (time, rest) = line.split_once(' ').expect("a time first");
        assert!(time.len() == "2026-11-23T17:42:39.120Z".len() && time.ends_with('Z'), "{time}");
        rest
    }

    #[test]
    fn a_line_for_people_has_its_message_first_and_its_fields_behind() {
        let lines = logged(LogFormat::Text, "info", false, || {
            tracing::info!(attempt = 2, image = "a b", "Worker registration: worker-1 ✓");
            tracing::error!(error = %"gone", path = ?"x\"y", empty = "", "No");
            let span = tracing::info_span!("session", worker = "w1");
            span.in_scope(|| tracing::warn!(task = "t", "Slow"));
        });
        let lines: Vec<_> = lines.iter().map(|line| without_time(line)).collect();
        let expected = [
            "INFO Worker registration: worker-1 ✓ attempt=2 image=\"a b\"",
            "ERROR No error=gone path=\"x\\\"y\" empty=\"\"",
            "WARN Slow task=t worker=w1",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn nothing_that_a_terminal_would_obey_gets_through() {
        let evil = "a\u{1b}[2J\r\nb\u{202e}\u{9b}c";
        let lines = logged(LogFormat::Text, "info", false, || tracing::info!(evil, "Says {evil}"));
        let safe = "a\\u{1b}[2J\\r\\nb\\u{202e}\\u{9b}c";
        assert_eq!(without_time(&lines[0]), format!("INFO Says {safe} evil=\"{safe}\""));
        assert_eq!(lines.len(), 1);
        let lines = logged(LogFormat::Json, "info", false, || tracing::info!("Says {evil}"));
        assert!(lines.len() == 1 && !lines[0].contains('\u{1b}'), "{lines:?}");
    }

    #[test]
    fn colour_is_only_on_the_level() {
        let lines = logged(LogFormat::Text, "info", true, || tracing::error!("x"));
        assert_eq!(without_time(&lines[0]), "\u{1b}[31mERROR\u{1b}[0m x");
    }

    #[test]
    fn a_line_for_machines_is_an_object() {
        let lines = logged(LogFormat::Json, "info", false, || tracing::info!(attempt = 2, "Done"));
        let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("json");
        assert_eq!((&line["message"], &line["attempt"], &line["level"]), (&"Done".into(), &2.into(), &"INFO".into()));
        assert_eq!(line["timestamp"].as_str().map(str::len), Some(24));
    }

    #[test]
    fn other_crates_are_heard_from_warn_on() {
        let log = || {
            tracing::info!(target: "hyper::proto", "theirs");
            tracing::warn!(target: "hyper::proto", "their warning");
            tracing::debug!(target: "cloudaid::http", "ours");
        };
        assert_eq!(logged(LogFormat::Text, "debug", false, log).len(), 2);
        assert_eq!(logged(LogFormat::Text, "info", false, log).len(), 1);
        assert_eq!(logged(LogFormat::Text, "error", false, log).len(), 0);
        assert_eq!(logged(LogFormat::Text, "cloudaid::http=debug,hyper=info", false, log).len(), 3);
        assert_eq!(logged(LogFormat::Text, "off", false, log).len(), 0);
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for bad in ["verbose", "cloudaid=loud", "info,chatty", "a=b=c"] {
            assert!(filter(bad).expect_err(bad).contains("give error, warn"), "{bad}");
        }
        assert_eq!(filter(""), filter("info"));
        assert_eq!(filter("DEBUG").as_deref(), Ok("warn,cloudaid=debug,cloudaid_core=debug"));
    }
}
