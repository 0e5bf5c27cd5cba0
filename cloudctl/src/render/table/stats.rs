//! One worker in full.

use comfy_table::Cell;
use shared::pull::{PullFailure, PullProgress, Pulling};
use shared::resources::Resources;
use shared::time::WallTime;
use shared::view::GpuView;
use shared::worker::Usage;

use super::cluster::{in_words, state};
use super::grid::{Grid, Widths, text};
use super::listing::tasks;
use crate::render::text::{decimal, gigabytes};
use crate::render::{StatsView, Style};

/// `stats`
pub(super) fn show(view: &StatsView, style: &Style, now: WallTime) -> String {
    let worker = &view.worker;
    let mut out = String::new();
    let mut line =
        |name: &str, value: &str| out.push_str(&format!("{:<15} {}\n", format!("{name}:"), style.text(value)));
    line("Worker", worker.worker_id.as_str());
    line("Status", state(worker.state));
    if let Some(cordon) = &worker.cordon {
        line("No new tasks", &in_words(cordon, style, now));
    }
    if let Some(problem) = &worker.problem {
        line("Problem", &format!("no new tasks: {problem}"));
    }
    line("IP", &worker.address);
    line("Version", &worker.version);
    line("Protocol", worker.protocol.as_str());
    line("Registered", &style.time_and_ago(now, worker.registered_at));
    line("Last Heartbeat", &worker.last_heartbeat.map_or_else(|| "never".to_owned(), |at| style.ago(now, at)));
    if !worker.labels.is_empty() {
        let labels: Vec<_> = worker.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        line("Labels", &labels.join(", "));
    }
    for Pulling { image, progress } in &worker.pulling {
        line("Pulling", &format!("{image}: {}", pull_progress(progress, style)));
    }
    line("Running Tasks", &worker.running_tasks.len().to_string());
    for (name, value) in resources(&worker.capacity, &worker.allocated, worker.usage.as_ref(), style) {
        line(name, &value);
    }
    out += &gpus(&worker.gpus, style);
    if view.tasks.is_empty() {
        return out;
    }
    format!("{out}\n{}", tasks(&view.tasks, style, now, &mut Widths::default()))
}

/// `1.0GB of 2.0GB`, or what keeps it.
fn pull_progress(progress: &PullProgress, style: &Style) -> String {
    let size = |bytes: u64| if style.raw { bytes.to_string() } else { gigabytes(bytes) };
    let far = (!progress.is_kept()).then(|| format!("{} of {}", size(progress.done_bytes), size(progress.total_bytes)));
    let failure = progress.failure.as_ref().map(PullFailure::to_string);
    far.into_iter().chain(failure).collect::<Vec<_>>().join("; ")
}

/// What each of its GPUs is, what of it is allocated, and whether it is well.
fn gpus(gpus: &[GpuView], style: &Style) -> String {
    if gpus.is_empty() {
        return String::new();
    }
    let mut grid = Grid::new(style, ["GPU", "MODEL", "MEMORY", "ALLOCATED", "STATE"], &[1, 4]);
    for GpuView { gpu, free_millis, problem, .. } in gpus {
        let taken = gpu.millis.saturating_sub(*free_millis);
        let allocated = match style.raw {
            true => format!("{taken}m of {}m", gpu.millis),
            false => format!("{} of {}", decimal(taken), decimal(gpu.millis)),
        };
        let memory = if style.raw { gpu.memory_bytes.to_string() } else { gigabytes(gpu.memory_bytes) };
        let state = problem.as_ref().map_or_else(|| "well".to_owned(), |problem| format!("no new tasks: {problem}"));
        grid.row([
            text(&gpu.uuid, style),
            text(&gpu.name, style),
            Cell::new(memory),
            Cell::new(allocated),
            text(&state, style),
        ]);
    }
    format!("\n{}", grid.finish())
}

/// What is reserved of each resource, and what is used.
fn resources(
    capacity: &Resources,
    allocated: &Resources,
    usage: Option<&Usage>,
    style: &Style,
) -> [(&'static str, String); 4] {
    let size = |bytes: u64| if style.raw { bytes.to_string() } else { gigabytes(bytes) };
    let number = |millis: u64| if style.raw { format!("{millis}m") } else { decimal(millis) };
    let share = |taken: String, of: String| format!("{taken} of {of} allocated");
    let used = |text: String| format!(", {text} used");
    let cpu = usage.map(|usage| used(format!("{:.0}%", usage.cpu_percent)));
    let memory = usage.map(|usage| used(size(usage.memory_used_bytes)));
    let storage = usage.map(|usage| used(size(usage.storage_used_bytes)));
    let busy = usage.filter(|_| capacity.gpu_millis > 0).map(|usage| used(format!("{:.0}%", usage.gpu_percent)));
    let gpu = share(number(allocated.gpu_millis), number(capacity.gpu_millis)) + &busy.unwrap_or_default();
    [
        ("CPU", share(number(allocated.cpu_millis), number(capacity.cpu_millis)) + &cpu.unwrap_or_default()),
        ("Memory", share(size(allocated.memory_bytes), size(capacity.memory_bytes)) + &memory.unwrap_or_default()),
        ("Storage", share(size(allocated.storage_bytes), size(capacity.storage_bytes)) + &storage.unwrap_or_default()),
        ("GPU", gpu),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::table::sample;

    #[test]
    fn a_worker_in_full() {
        let view = StatsView { worker: sample::workers().workers.remove(0), tasks: vec![] };
        let text = show(&view, &Style::default(), sample::NOW);
        assert!(text.contains("Status:         🟢 Active\n"), "{text}");
        assert!(text.contains("Protocol:       session\n"), "{text}");
        assert!(text.contains("CPU:            1.0 of 4.0 allocated, 45% used\n"), "{text}");
        let mut worker = sample::workers().workers.remove(0);
        worker.gpus = vec![sample::gpu()];
        worker.pulling = vec![sample::pulling()];
        let text = show(&StatsView { worker, tasks: vec![] }, &Style::default(), sample::NOW);
        let row =
            "MIG-1  NVIDIA H100 MIG 3g.40gb  40.0GB  0.3 of 0.428  no new tasks: Xid 79: it has fallen off the bus";
        assert!(text.contains(row), "{text}");
        let line = "Pulling:        trainer:7: 1.0GB of 2.0GB; 3 tries failed, the last with: toomanyrequests\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("Memory:         0.50GB of 8.0GB allocated, 1.5GB used\n"), "{text}");
    }
}
