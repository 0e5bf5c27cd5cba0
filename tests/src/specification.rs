//! The commands of the specification, as they stand in it.

use std::path::{Path, PathBuf};

/// What stands before each command.
const PROMPT: &str = "master>";
/// The commands, in the order in which the specification has them.
const LINES: &str = include_str!("specification/lines.txt");
/// Where the specification lies beside a checkout.
const DOCUMENT: &str = "../../shared/seed/master-node.md";

/// What stands for the placeholders.
#[derive(Debug, Clone)]
pub struct Places {
    /// `<task_id>`.
    pub task: String,
    /// `<worker_id>`.
    pub worker: String,
    /// `<docker_image>`.
    pub image: String,
    /// `<username>`.
    pub user: String,
    /// `<output_dir>`.
    pub dir: String,
}

/// Every command line, without its prompt. Where the specification itself can be read, they are compared with it.
///
/// # Panics
/// When the specification has other commands.
#[must_use]
pub fn lines() -> Vec<String> {
    let path = std::env::var_os("CLOUDAI_SPECIFICATION")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT), PathBuf::from);
    if let Ok(document) = std::fs::read_to_string(&path) {
        assert_eq!(extract(&document), extract(LINES), "{} has other commands", path.display());
    }
    extract(LINES)
}

/// The lines to run, with the placeholders filled in. Of `[status]` each that is named, and none.
#[must_use]
pub fn filled(places: &Places) -> Vec<String> {
    let options = "-name all-of-them -cpu_cores 1.0 -mem 0.5 -storage 1.0 -gpu_cores 0.0";
    let fill = |line: &str| {
        line.replace("<task_id>", &places.task)
            .replace("<worker_id>", &places.worker)
            .replace("<docker_image>", &places.image)
            .replace("<username>", &places.user)
            .replace("<output_dir>", &places.dir)
            .replace("[options]", options)
    };
    let mut filled = Vec::new();
    for line in lines() {
        if line.contains("[status]") {
            let states = ["", "queued", "pending", "running", "completed", "failed"];
            filled.extend(states.map(|state| line.replace("[status]", state).trim_end().to_owned()));
        } else {
            filled.push(fill(&line));
        }
    }
    filled
}

fn extract(text: &str) -> Vec<String> {
    let commands = text.lines().filter_map(|line| line.strip_prefix(PROMPT)).map(str::trim);
    commands.filter(|command| !command.is_empty()).map(str::to_owned).collect()
}
