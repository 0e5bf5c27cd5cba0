//! Arguments of the commands about the cluster as a whole.

use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCandidates;

use super::tasks::span;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Show it again and again. On a terminal any key ends it.
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// How often: 500ms, 2s, 1m.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "2s",
        value_parser = interval, requires = "watch")]
    pub(crate) interval: Duration,
}

/// Arguments of `queue`.
#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    /// At most this many rows, of 1 to 1000.
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

/// Arguments of `stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Which worker.
    #[arg(value_name = "WORKER", add = ArgValueCandidates::new(crate::complete::workers))]
    pub(crate) worker: String,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// How often to look: 500ms, 2s, 1m.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "2s", value_parser = interval)]
    pub(crate) interval: Duration,
}

/// Arguments of `shutdown`.
#[derive(Debug, Args)]
pub(crate) struct ShutdownArgs {
    /// Do not wait for running tasks: they go on at their workers, and the next start finds them.
    #[arg(long)]
    pub(crate) now: bool,
    /// Start nothing new and wait until what runs has ended, which is the default.
    #[arg(long, conflicts_with = "now")]
    pub(crate) drain: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Not so short that it does harm.
fn interval(text: &str) -> Result<Duration, String> {
    let span = span(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    if range.contains(&span) { Ok(span) } else { Err("give 100ms to 1h".to_owned()) }
}
