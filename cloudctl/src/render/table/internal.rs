//! The whole state of the master's core.

use comfy_table::Cell;
use shared::time::WallTime;
use shared::view::{InternalStateView, LedgerView};

use super::grid::{Grid, optional, text};
use crate::render::Style;
use crate::render::text::resources;

/// `internal-state`
pub(super) fn show(view: &InternalStateView, style: &Style, now: WallTime) -> String {
    let sections = [
        cluster(view, style, now),
        section("Ledger", ledger(view, style)),
        section("Runs", runs(&view.ledger, style, now)),
        section("Leases", leases(view, style)),
        section("Links", links(view, style)),
        section("Queue", queue(view, style)),
        section("Open tasks", tasks(view, style)),
    ];
    let violations = match view.violations.as_slice() {
        [] => "✓ Every invariant holds\n".to_owned(),
        violations => violations.iter().map(|violation| format!("✗ {}\n", style.text(violation))).collect(),
    };
    sections.join("\n") + "\n" + &violations
}

fn section(name: &str, table: Option<String>) -> String {
    format!("═══ {name} ═══\n{}", table.unwrap_or_else(|| "none\n".to_owned()))
}

fn cluster(view: &InternalStateView, style: &Style, now: WallTime) -> String {
    let mut out = "═══ Core ═══\n".to_owned();
    let mut line =
        |name: &str, value: &str| out.push_str(&format!("{:<15} {}\n", format!("{name}:"), style.text(value)));
    line("Cluster", &view.cluster_id);
    line("Epoch", &view.epoch.to_string());
    line("Started", &style.time_and_ago(now, view.started_at));
    line("Last sequence", &view.last_sequence.to_string());
    line("Last fence", &view.last_fence.to_string());
    line("Draining", if view.draining { "yes" } else { "no" });
    let more = if view.scheduler.unfinished { ", more to place" } else { "" };
    line("Scheduler", &format!("{} ({}{more})", view.scheduler.policy, view.scheduler.memory));
    let s = &view.settings;
    line(
        "Leases",
        &format!(
            "heartbeat {} ms, suspect {} ms, lease {} ms, reassign {} ms",
            s.heartbeat_ms, s.suspect_ms, s.lease_ms, s.reassign_ms
        ),
    );
    line("Graces", &format!("start {} ms, stop {} ms", s.start_grace_ms, s.stop_grace_ms));
    line("Attempts", &format!("{} of the infrastructure", s.infrastructure_attempts));
    let t = &view.totals;
    line("Elements", &format!("{} queued, {} pending, {} running", t.queued, t.pending, t.running));
    line("Users", &view.users.iter().map(|user| user.username.to_string()).collect::<Vec<_>>().join(", "));
    line("Keys", &view.idempotency_keys.to_string());
    out
}

fn ledger(view: &InternalStateView, style: &Style) -> Option<String> {
    let mut grid = Grid::new(style, ["WORKER", "CAPACITY", "RESERVED", "AT REGISTRATION", "RUNS"], &[1, 2, 3]);
    for row in &view.ledger {
        grid.row([
            Cell::new(&row.worker_id),
            Cell::new(resources(&row.capacity, style)),
            Cell::new(resources(&row.reserved, style)),
            Cell::new(resources(&row.reserved_at_registration, style)),
            Cell::new(row.runs.len()),
        ]);
    }
    (!view.ledger.is_empty()).then(|| grid.finish())
}

fn runs(ledger: &[LedgerView], style: &Style, now: WallTime) -> Option<String> {
    let headings = ["ELEMENT", "ATTEMPT", "FENCE", "STATE", "WORKER", "RESERVED", "PLACED", "STARTED"];
    let mut grid = Grid::new(style, headings, &[5]).hide_if_narrow(&[2, 5, 6]);
    for worker in ledger {
        for run in &worker.runs {
            grid.row([
                text(&run.element_id, style),
                Cell::new(run.attempt),
                Cell::new(run.fence),
                grid.state(run.state, if run.cancelling { " (cancelling)" } else { "" }),
                Cell::new(&worker.worker_id),
                Cell::new(resources(&run.resources, style)),
                Cell::new(style.ago(now, run.placed_at)),
                optional(run.started_at.map(|at| style.ago(now, at)), style),
            ]);
        }
    }
    ledger.iter().any(|worker| !worker.runs.is_empty()).then(|| grid.finish())
}

fn leases(view: &InternalStateView, style: &Style) -> Option<String> {
    let mut grid = Grid::new(style, ["WORKER", "LINK", "SESSION", "HEARD", "EXPIRES"], &[]);
    for row in &view.leases {
        grid.row([
            Cell::new(&row.worker_id),
            text(&row.link, style),
            optional(row.session.map(|session| session.to_string()), style),
            Cell::new(format!("{} ms ago", row.heard_ms_ago)),
            optional(row.expires_in_ms.map(|ms| format!("in {ms} ms")), style),
        ]);
    }
    (!view.leases.is_empty()).then(|| grid.finish())
}

fn links(view: &InternalStateView, style: &Style) -> Option<String> {
    let headings = ["SESSION", "WORKER", "SENT", "WAITING", "REPORTS THROUGH", "AHEAD"];
    let mut grid = Grid::new(style, headings, &[]);
    for row in &view.links {
        grid.row([
            Cell::new(row.session),
            optional(row.worker_id.as_ref().map(|worker| worker.as_str()), style),
            Cell::new(row.sent),
            Cell::new(row.waiting),
            Cell::new(row.reports_through),
            Cell::new(row.reports_ahead),
        ]);
    }
    (!view.links.is_empty()).then(|| grid.finish())
}

fn queue(view: &InternalStateView, style: &Style) -> Option<String> {
    let headings = ["ASKS FOR", "WORKER", "USER", "TASKS", "WAITING", "PLACEABLE", "FIRST"];
    let mut grid = Grid::new(style, headings, &[0]).hide_if_narrow(&[1, 5]);
    for row in &view.queue {
        let mut asked = resources(&row.resources, style);
        if !row.worker_labels.is_empty() {
            asked += &format!(", {}", row.worker_labels);
        }
        grid.row([
            text(&asked, style),
            optional(row.worker_id.as_ref().map(|worker| worker.as_str()), style),
            Cell::new(&row.user),
            Cell::new(row.tasks),
            Cell::new(row.waiting),
            Cell::new(row.placeable),
            Cell::new(row.first_sequence),
        ]);
    }
    (!view.queue.is_empty()).then(|| grid.finish())
}

fn tasks(view: &InternalStateView, style: &Style) -> Option<String> {
    let headings = ["TASK", "SEQUENCE", "USER", "STATE", "ELEMENTS", "UNTOUCHED", "REQUEUED", "LIVE", "CANCELLING"];
    let mut grid = Grid::new(style, headings, &[5, 6, 7, 8]).hide_if_narrow(&[1, 2, 6, 8]);
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let indices = |indices: &[u32]| {
        let shown: Vec<_> = indices.iter().take(20).map(ToString::to_string).collect();
        let more = if indices.len() > shown.len() { ",..." } else { "" };
        or_dash(&(shown.join(",") + more))
    };
    for row in &view.tasks {
        let limit = row.limit.map(|limit| format!("%{limit}")).unwrap_or_default();
        grid.row([
            text(&row.task_id, style),
            Cell::new(row.sequence),
            Cell::new(&row.user),
            grid.state(row.state, ""),
            Cell::new(format!("{}{limit}", row.count)),
            text(&or_dash(&row.untouched), style),
            Cell::new(indices(&row.requeued)),
            Cell::new(indices(&row.live)),
            text(&or_dash(&row.cancelling), style),
        ]);
    }
    (!view.tasks.is_empty()).then(|| grid.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::table::sample;

    #[test]
    fn at_80_columns_headings_are_whole() {
        let style = Style { width: Some(80), ..Style::default() };
        let text = show(&sample::internal_state(), &style, sample::NOW);
        for word in ["CAPACITY", "RESERVED", "ATTEMPT", "STARTED", "UNTOUCHED", "WAITING", "EXPIRES"] {
            assert!(text.contains(word), "{word} is not in\n{text}");
        }
        let tables = text.lines().filter(|line| !line.contains(": ") && !line.contains(" ms, "));
        let widest = tables.map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= 80), "{text}");
    }

    #[test]
    fn all_of_it_is_shown() {
        let mut state = sample::internal_state();
        let text = show(&state, &Style::default(), sample::NOW);
        for word in ["round-robin", "═══ Ledger ═══", "heartbeat 5000 ms", "in 20 ms", "2-3", "4%2", "✗ v"]
        {
            assert!(text.contains(word), "{word} is not in\n{text}");
        }
        state.violations.clear();
        state.queue.clear();
        let text = show(&state, &Style::default(), sample::NOW);
        assert!(text.contains("═══ Queue ═══\nnone\n") && text.ends_with("✓ Every invariant holds\n"), "{text}");
    }
}
