//! What would become of a task.

use comfy_table::Cell;
use shared::view::{DryRunView, Fit};

use super::grid::{Grid, text};
use super::task::with_storage;
use crate::render::Style;
use crate::render::text::command;

/// `task --dry-run`
pub(super) fn show(view: &DryRunView, style: &Style) -> String {
    let mut out = String::new();
    let mut line =
        |name: &str, value: &str| out.push_str(&format!("{:<11} {}\n", format!("{name}:"), style.text(value)));
    let pairs = |pairs: &std::collections::BTreeMap<String, String>| {
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    };
    line("Would run", &view.spec.image);
    if let Some(name) = &view.spec.name {
        line("Name", name);
    }
    line("User", view.user.as_str());
    line("Command", &command(&view.spec.command));
    line("Resources", &with_storage(&view.spec.resources, style));
    if !view.spec.env.is_empty() {
        line("Environment", &pairs(&view.spec.env));
    }
    if !view.spec.labels.is_empty() {
        line("Labels", &pairs(&view.spec.labels));
    }
    if let Some(worker) = &view.spec.worker {
        line("Dispatched", &format!("to {worker}"));
    }
    if !view.spec.worker_labels.is_empty() {
        line("Runs where", &view.spec.worker_labels.to_string());
    }
    if let Some(array) = &view.array {
        line("Array", &format!("{array} ({} elements)", view.count));
    }
    for warning in &view.warnings {
        line("Warning", warning);
    }
    if view.workers.is_empty() {
        return out + "\nThere is no worker that it could run on.\n";
    }
    let mut grid = Grid::new(style, ["WORKER", "RUNS", "BECAUSE"], &[2]);
    for worker in &view.workers {
        let fit = match worker.fit {
            Fit::Now => "now",
            Fit::Later => "later",
            Fit::Never => "never",
        };
        grid.row([Cell::new(&worker.worker_id), Cell::new(fit), text(&worker.reasons.join("; "), style)]);
    }
    format!("{out}\n{}", grid.finish())
}
