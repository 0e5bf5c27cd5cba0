//! The cluster and its workers, in the boxes of the specification.

use shared::resources::Resources;
use shared::time::WallTime;
use shared::view::{StatusView, StoreState, WorkerListView, WorkerView};
use shared::worker::{Cordon, WorkerProtocol, WorkerState};

use crate::render::Style;
use crate::render::text::{decimal, gigabytes, resources, span};

/// `status`
pub(super) fn status(view: &StatusView, style: &Style, now: WallTime) -> String {
    let mut lines = vec!["╔═══ Cluster Status ═══".to_owned()];
    let mut line = |name: &str, value: String| lines.push(format!("║ {name}: {value}"));
    line("Total Workers", view.total_workers.to_string());
    line("Active Workers", view.active_workers.to_string());
    line("Running Tasks", view.tasks.running.to_string());
    line("Pending Tasks", view.tasks.pending.to_string());
    line("Queued Tasks", view.tasks.queued.to_string());
    line("Completed Tasks", view.tasks.completed.to_string());
    line("Failed Tasks", view.tasks.failed.to_string());
    line("Cancelled Tasks", view.tasks.cancelled.to_string());
    for (name, value) in shares(&view.allocated, &view.capacity, style) {
        line(name, value);
    }
    line("Store", store(view, style));
    line("Master", format!("{} (started {})", style.text(&view.version), style.ago(now, view.started_at)));
    if view.draining {
        line("Draining", "yes, it starts nothing new".to_owned());
    }
    lines.push("╚══════════════════════".to_owned());
    lines.join("\n") + "\n"
}

/// Which one, and what is wrong with it.
fn store(view: &StatusView, style: &Style) -> String {
    let name = style.text(&view.store);
    match view.store_state {
        StoreState::Ok => name.into_owned(),
        StoreState::Unavailable => format!("{name} (does not answer or takes no commits: new work is refused)"),
        StoreState::Fallback => format!("{name} (stands in for MongoDB, which could not be reached at the start)"),
    }
}

/// How much of each resource is taken; no line for what nobody has.
fn shares(taken: &Resources, of: &Resources, style: &Style) -> impl Iterator<Item = (&'static str, String)> {
    let share = |taken: String, of: String| format!("{taken} of {of} allocated");
    let rows = [
        ("CPU", of.cpu_millis, share(decimal(taken.cpu_millis), decimal(of.cpu_millis))),
        ("Memory", of.memory_bytes, share(style.size(taken.memory_bytes), style.size(of.memory_bytes))),
        ("GPU", of.gpu_millis, share(decimal(taken.gpu_millis), decimal(of.gpu_millis))),
    ];
    rows.into_iter().filter(|(_, of, _)| *of > 0).map(|(name, _, text)| (name, text))
}

/// `workers`
pub(super) fn workers(view: &WorkerListView, style: &Style, now: WallTime) -> String {
    let mut lines = vec!["╔═══ Registered Workers ═══".to_owned()];
    if view.workers.is_empty() {
        lines.push("║ none; `cloudctl worker-token create` lets one join".to_owned());
    }
    for (index, view) in view.workers.iter().enumerate() {
        if index > 0 {
            lines.push("║".to_owned());
        }
        lines.extend(worker(view, style, now).into_iter().map(|line| format!("║ {line}")));
    }
    lines.push("╚═══════════════════════".to_owned());
    lines.join("\n") + "\n"
}

/// A word and its sign.
pub(super) fn state(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Active => "🟢 Active",
        WorkerState::Suspect => "🟡 Suspect",
        WorkerState::Inactive => "🔴 Inactive",
    }
}

/// Why an operator has taken a worker out of use.
pub(super) fn in_words(cordon: &Cordon, style: &Style, now: WallTime) -> String {
    let what = if cordon.draining { "Drained" } else { "Cordoned" };
    let reason = cordon.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let deadline = match cordon.deadline {
        Some(deadline) if deadline > now => format!("; what runs is stopped in {}", span(now, deadline)),
        Some(_) => "; what runs is being stopped".to_owned(),
        None => String::new(),
    };
    format!("{what} by {} ({}){reason}{deadline}", cordon.by, style.ago(now, cordon.since))
}

fn worker(view: &WorkerView, style: &Style, now: WallTime) -> Vec<String> {
    let heartbeat = view.last_heartbeat.map_or_else(|| "never".to_owned(), |at| style.ago(now, at));
    let mut lines = vec![
        view.worker_id.to_string(),
        format!("  Status: {}", state(view.state)),
        format!("  IP: {}", style.text(&view.address)),
        format!("  Resources: {}", resources(&view.capacity, style)),
        format!("  Allocated: {}", resources(&view.allocated, style)),
        format!("  Running Tasks: {}", view.running_tasks.len()),
    ];
    if let Some(cordon) = &view.cordon {
        lines.push(format!("  {}", style.text(&in_words(cordon, style, now))));
    }
    if let Some(problem) = &view.problem {
        lines.push(format!("  Problem: {}", style.text(problem)));
    }
    if let Some(usage) = &view.usage {
        lines.push(format!("  Usage: CPU={:.0}%, Memory={}", usage.cpu_percent, gigabytes(usage.memory_used_bytes)));
    }
    // The others are what the specification shows.
    if view.protocol == WorkerProtocol::Seed {
        lines.push(format!("  Protocol: {}", view.protocol));
    }
    if !view.labels.is_empty() {
        let labels = view.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        lines.push(format!("  Labels: {}", style.text(&labels.join(", "))));
    }
    lines.push(format!("  Last Heartbeat: {heartbeat}"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::table::sample;

    #[test]
    fn status_is_the_box_of_the_specification() {
        let expected = "\
╔═══ Cluster Status ═══
║ Total Workers: 2
║ Active Workers: 2
║ Running Tasks: 1
║ Pending Tasks: 0
║ Queued Tasks: 3
║ Completed Tasks: 7
║ Failed Tasks: 1
║ Cancelled Tasks: 0
║ CPU: 1.0 of 12.0 allocated
║ Memory: 512 MiB of 24 GiB allocated
║ Store: sqlite
║ Master: 0.1.0 (started 2h ago)
╚══════════════════════
";
        assert_eq!(status(&sample::status(), &Style::default(), sample::NOW), expected);
    }

    #[test]
    fn workers_are_the_box_of_the_specification() {
        let expected = "\
╔═══ Registered Workers ═══
║ worker-1
║   Status: 🟢 Active
║   IP: 192.168.1.100
║   Resources: CPU=4.0, Memory=8.0GB, GPU=0.0
║   Allocated: CPU=1.0, Memory=0.50GB, GPU=0.0
║   Running Tasks: 1
║   Usage: CPU=45%, Memory=1.5GB
║   Last Heartbeat: 3s ago
║
║ worker-2
║   Status: 🔴 Inactive
║   IP: evil\\u{1b}[2J
║   Resources: CPU=8.0, Memory=16.0GB, GPU=1.0
║   Allocated: CPU=0.0, Memory=0.0GB, GPU=0.0
║   Running Tasks: 0
║   Labels: zone=a
║   Last Heartbeat: never
╚═══════════════════════
";
        assert_eq!(workers(&sample::workers(), &Style::default(), sample::NOW), expected);
    }

    #[test]
    fn a_cluster_without_workers_says_what_to_do() {
        let text = workers(&WorkerListView { workers: vec![] }, &Style::default(), sample::NOW);
        assert!(text.contains("cloudctl worker-token create"), "{text}");
    }
}
