//! What `fix-resources` found and mended.

use shared::view::{RepairStatus, RepairView, RunView, WorkerRepairView};

use crate::render::Style;

/// `fix-resources`
pub(super) fn show(view: &RepairView, style: &Style) -> String {
    let mut out = String::new();
    for worker in &view.workers {
        out.push_str(&one(worker, style));
    }
    for difference in &view.differences {
        out.push_str(&format!("✗ {}\n", style.text(difference)));
    }
    let runs = format!("{} live runs in the books", view.live_attempts);
    out.push_str(&match (view.repaired, view.differences.len()) {
        (0, 0) if view.workers.iter().any(|worker| worker.status != RepairStatus::Checked) => {
            format!("! Nothing to repair where it could be looked; not all workers could be asked ({runs})\n")
        }
        (0, 0) => format!("✓ Nothing to repair ({runs})\n"),
        (repaired, 0) => format!("✓ Repaired {repaired} ({runs})\n"),
        (repaired, open) => {
            format!("✗ Repaired {repaired}, and {open} differences stay until the master is started again ({runs})\n")
        }
    });
    out
}

fn one(worker: &WorkerRepairView, style: &Style) -> String {
    let status = match worker.status {
        RepairStatus::Checked => format!("{} live runs, {} containers", worker.live_attempts, worker.containers),
        RepairStatus::EngineFailed => "its engine could not be asked".to_owned(),
        RepairStatus::Silent => "did not answer in time".to_owned(),
        RepairStatus::Disconnected => "is not connected".to_owned(),
    };
    let mut out = format!("{}: {status}\n", worker.worker_id);
    if let Some(problem) = &worker.problem {
        out.push_str(&format!("  {}\n", style.text(problem)));
    }
    let mut all = |runs: &[RunView], what: &str| {
        for run in runs {
            out.push_str(&format!("  {} attempt {}: {what}\n", style.text(&run.element_id), run.attempt));
        }
    };
    all(&worker.orphans, "a container of no live run, removed");
    all(&worker.missing, "its container is gone, the run was ended");
    all(&worker.adopted, "the worker had lost sight of its container, watched again");
    all(&worker.sent_again, "had never arrived at the worker, sent again");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mended_is_named() {
        let id = || "worker-1".parse().expect("a name");
        let run = RunView { element_id: "task-x.0".into(), attempt: 2 };
        let mended = WorkerRepairView {
            live_attempts: 1,
            containers: 2,
            orphans: vec![run],
            problem: None,
            ..WorkerRepairView::without(id(), RepairStatus::Checked, "")
        };
        let away = WorkerRepairView::without(id(), RepairStatus::Disconnected, "its runs are settled when it is back");
        let view = RepairView { workers: vec![mended, away], live_attempts: 1, differences: vec![], repaired: 1 };
        let expected = "\
worker-1: 1 live runs, 2 containers
  task-x.0 attempt 2: a container of no live run, removed
worker-1: is not connected
  its runs are settled when it is back
✓ Repaired 1 (1 live runs in the books)
";
        assert_eq!(show(&view, &Style::default()), expected);
        let fine = RepairView::default();
        assert_eq!(show(&fine, &Style::default()), "✓ Nothing to repair (0 live runs in the books)\n");
    }
}
