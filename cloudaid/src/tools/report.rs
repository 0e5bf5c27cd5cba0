//! What a tool prints when it is done.

use serde::Serialize;

use crate::store::check::Report;
use crate::store::summary::Summary;

/// As text for people, or as JSON.
#[must_use]
pub fn render<T: Serialize>(report: &T, text: impl FnOnce(&T) -> String, as_json: bool) -> String {
    if as_json { serde_json::to_string_pretty(report).unwrap_or_default() + "\n" } else { text(report) }
}

/// What a store holds.
pub(super) fn summary(summary: &Summary) -> String {
    let counts = summary.counts.list().into_iter().filter(|(_, count)| *count > 0);
    let lines = counts.map(|(name, count)| format!("  {count:>10} {name}\n"));
    lines.collect::<String>() + &format!("  digest {}\n", summary.digest)
}

/// What is wrong with it.
pub(super) fn violations(report: &Report) -> String {
    if report.violations.is_empty() {
        return "✓ Nothing contradicts itself\n".to_owned();
    }
    let mut text: String = report.violations.iter().map(|violation| format!("✗ {violation}\n")).collect();
    if report.more > 0 {
        text += &format!("✗ and {} more\n", report.more);
    }
    text
}
