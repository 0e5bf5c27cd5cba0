//! `cloudaid doctor`: what of a machine and its engine is as tasks need it, and what to do about the rest.
//!
//! `gather` looks, `judge` says what that means; the first has no opinion, the second no access. A worker says at its start
//! what is to be warned of, for those who never ask.

use std::fmt::{self, Write};

use serde::Serialize;
use shared::text::printable;

use super::engine;
use crate::clock;
use crate::config::DoctorConfig;
use crate::runtime::Runtime;

mod facts;
mod gather;
mod judge;
mod runc;
mod trial;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Tasks run, and something of what they are promised is missing.
    Warning,
    /// Tasks do not run, or anybody can do anything.
    Problem,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Names it, for scripts: these names stay.
    pub check: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What was seen.
    pub message: String,
    /// What to do about it; none: nothing.
    pub advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: message.into(), advice: None }
    }

    fn new(check: &'static str, level: Level, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level, message: message.into(), advice: Some(advice.into()) }
    }
}

impl fmt::Display for Finding {
    /// In one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.message))?;
        match &self.advice {
            Some(advice) => write!(f, ": {}", printable(advice)),
            None => Ok(()),
        }
    }
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many are problems.
    pub problems: usize,
    /// How many are warnings.
    pub warnings: usize,
    /// What was looked at, always in the same order.
    pub findings: Vec<Finding>,
}

impl Report {
    fn new(findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        Self { problems: count(Level::Problem), warnings: count(Level::Warning), findings }
    }

    /// For people: a line for each, and below it what to do.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        for Finding { check, level, message, advice } in &self.findings {
            let _ = writeln!(text, "{:<7}  {check:<12}  {}", level.as_str(), printable(message));
            if let Some(advice) = advice {
                let _ = writeln!(text, "{:23}{}", "", printable(advice));
            }
        }
        let _ = writeln!(text, "{}, {}", counted(self.problems, "problem"), counted(self.warnings, "warning"));
        text
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Looks at this machine and its engine. Nothing is changed, but for what is left of an earlier look that was killed: that is
/// removed.
pub async fn run(config: &DoctorConfig) -> Report {
    Report::new(judge::all(&gather::look(config).await))
}

/// Logs what of the engine is to be warned of. One that does not answer is somebody else's to tell.
pub(super) async fn warn(runtime: &dyn Runtime) {
    let Some(Ok(Some(facts))) = engine::soon(runtime.describe()).await else { return };
    for finding in judge::engine(&facts, clock::wall()).iter().filter(|finding| finding.level >= Level::Warning) {
        tracing::warn!("{finding}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_line_for_each_and_what_to_do_below_it() {
        let findings = vec![
            Finding::ok("engine", "Docker 1 answers"),
            Finding::new("runc", Level::Warning, "runc is\nold", "update it"),
        ];
        let report = Report::new(findings);
        let expected = "ok       engine        Docker 1 answers\n\
                        warning  runc          runc is\\nold\n                       update it\n\
                        0 problems, 1 warning\n";
        assert_eq!(report.text(), expected);
        assert_eq!(report.findings[1].to_string(), "runc is\\nold: update it");
        let json = serde_json::to_value(&report).expect("json");
        let expected = serde_json::json!({
            "problems": 0, "warnings": 1, "findings": [
                {"check": "engine", "level": "ok", "message": "Docker 1 answers", "advice": null},
                {"check": "runc", "level": "warning", "message": "runc is\nold", "advice": "update it"},
            ],
        });
        assert_eq!(json, expected);
    }
}
