//! One task in full.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::Cell;
use shared::confinement::Confinement;
use shared::policy::{Backoff, RetryOn, RunPolicy};
use shared::pull::PullProgress;
use shared::resources::{Bytes, Resources};
use shared::span::Span;
use shared::task::{AttemptState, TaskState};
use shared::time::WallTime;
use shared::view::{AttemptView, ElementGroupView, Tally, TaskUsageView, TaskView, WhyView};

use super::grid::{Grid, optional, text};
use super::listing::progress;
use crate::render::text::{command, gigabytes, resources, span};
use crate::render::{Style, outcome};

/// What comes after the end of a program is not worth a word that takes less, in milliseconds.
const LATER_MS: i64 = 1000;

/// `show`
pub(super) fn show(view: &TaskView, style: &Style, now: WallTime) -> String {
    let mut out = String::new();
    let mut line =
        |name: &str, value: &str| out.push_str(&format!("{:<11} {}\n", format!("{name}:"), style.text(value)));
    line("Task", &view.task_id);
    if let Some(name) = &view.name {
        line("Name", name);
    }
    line("State", &format!("{}{}", outcome(view.state, view.verdict.as_ref()), progress(view)));
    if let Some(exit_code) = view.exit_code {
        line("Exit code", &exit_code.to_string());
    }
    line("User", view.user.as_str());
    line("Image", &view.image);
    if let Some(pinned) = &view.pinned_image {
        line("Pinned", pinned);
    }
    if !view.pull.is_default() {
        line("Pull", view.pull.as_str());
    }
    if !view.confinement.is_default() {
        let Confinement { profile, network } = view.confinement;
        line("Container", &format!("{profile}, network: {network}"));
    }
    line("Command", &command(&view.command));
    line("Resources", &with_storage(&view.resources, style));
    if !view.labels.is_empty() {
        line("Labels", &labels(&view.labels));
    }
    if let Some(worker) = &view.dispatched_to {
        line("Dispatched", &format!("to {worker}"));
    }
    if !view.worker_labels.is_empty() {
        line("Runs where", &view.worker_labels.to_string());
    }
    policy(&view.policy, &mut line);
    if let Some(input) = &view.input {
        line("Input", &input.to_string());
    }
    if let Some(worker) = &view.worker_id {
        line("Worker", worker.as_str());
    }
    if view.unreachable {
        line("Away", &away(view));
    }
    if let Some(array) = &view.array {
        line("Array", array);
    }
    if let Some(elements) = &view.elements {
        line("Elements", &tally(*elements));
    }
    if let Some(original) = &view.retry_of {
        line("Retry of", original);
    }
    line("Submitted", &style.time_and_ago(now, view.submitted_at));
    if let Some(started) = view.started_at {
        line("Started", &format!("{} (waited {})", style.time(started), span(view.submitted_at, started)));
    }
    if let Some(finished) = view.finished_at {
        line("Finished", &format!("{}{}", style.time(finished), ran(view, finished).unwrap_or_default()));
    }
    usage(view, &mut line);
    for note in &view.output_notes {
        line("Output", note);
    }
    out + &groups(&view.groups, style) + &attempts(&view.attempts, style, now) + &earlier_notes(view, style)
}

/// How long its program has run, and how much later all that it left was at the master, where that is worth a word.
fn ran(view: &TaskView, finished: WallTime) -> Option<String> {
    let after = |start: WallTime, millis: u64| WallTime(start.0.saturating_add_unsigned(millis));
    let Some(run_ms) = view.usage.and_then(|usage| usage.run_ms) else {
        return Some(format!(" (ran {})", span(view.started_at?, finished)));
    };
    let ran = span(WallTime(0), after(WallTime(0), run_ms));
    let ended = view.attempts.last().and_then(|last| Some(after(last.started_at?, run_ms)));
    let later = ended.filter(|ended| finished.0 - ended.0 >= LATER_MS);
    let later = later.map(|ended| format!("; its log and outputs were there {} later", span(ended, finished)));
    Some(format!(" (ran {ran}{})", later.unwrap_or_default()))
}

/// What becomes of a task whose worker is not heard of.
fn away(view: &TaskView) -> String {
    let (why, force) = match view.policy.at_most_once {
        true => ("it may run once at most", "--force "),
        false => ("no other one could take it: it goes on there when that is back", ""),
    };
    format!("its worker is not heard of, and {why}; `cloudctl cancel {force}{}` ends it", view.task_id)
}

/// What it has left and used, and what the kernel would not let it have.
fn usage(view: &TaskView, mut line: impl FnMut(&str, &str)) {
    let Some(usage) = view.usage else { return };
    let TaskUsageView { output_files, output_bytes, cpu_ms, memory_peak_bytes, oom_kills, forks_refused, .. } = usage;
    if output_files > 0 {
        let files = if output_files == 1 { "1 file".to_owned() } else { format!("{output_files} files") };
        let bytes = output_bytes.map(|bytes| format!(", {}", Bytes(bytes)));
        line("Outputs", &format!("{files}{}", bytes.unwrap_or_default()));
    }
    if let Some(cpu) = cpu_ms {
        let seconds = Span(Duration::from_millis(cpu));
        let peak = memory_peak_bytes.map(|peak| format!(", {} of memory at the most", Bytes(peak)));
        line("Usage", &format!("{seconds} of CPU time{}", peak.unwrap_or_default()));
    }
    match oom_kills {
        Some(1) => line("Killed", "1 process, for want of memory"),
        Some(many) => line("Killed", &format!("{many} processes, for want of memory")),
        None => {}
    }
    if let Some(refused) = forks_refused {
        let most = view.confinement.profile.processes();
        line("Refused", &format!("{refused} more processes or threads: it may have {most} at a time"));
    }
}

/// How long it may wait and run, and whether it runs again.
fn policy(policy: &RunPolicy, mut line: impl FnMut(&str, &str)) {
    let spans =
        [("Time limit", policy.time_limit), ("Wait limit", policy.queue_time_limit), ("Stop grace", policy.stop_grace)];
    for (name, limit) in spans {
        if let Some(limit) = limit {
            line(name, &limit.to_string());
        }
    }
    if policy.retries > 0 {
        let on: &[RetryOn] = if policy.retry_on.is_empty() { &RetryOn::DEFAULT } else { &policy.retry_on };
        let on: Vec<_> = on.iter().map(ToString::to_string).collect();
        let backoff = policy.backoff.unwrap_or(Backoff::DEFAULT);
        line("Retries", &format!("{} after {}, pause {backoff}", policy.retries, on.join(",")));
    }
    if let Some(most) = policy.memory_max_bytes {
        line("Memory", &format!("after an oom twice as much, up to {}", Bytes(most)));
    }
    if policy.at_most_once {
        line("Once", "it is not started again, whatever becomes of its worker");
    }
    if policy.blocking_log {
        line("Log", "it stands still while its log cannot be brought to the master");
    }
}

/// The same as for workers, and what a task has besides.
pub(super) fn with_storage(wanted: &Resources, style: &Style) -> String {
    let storage = wanted.storage_bytes;
    let storage = if style.raw { storage.to_string() } else { gigabytes(storage) };
    format!("{}, Storage={storage}", resources(wanted, style))
}

/// Elements that look alike, in one row.
fn groups(groups: &[ElementGroupView], style: &Style) -> String {
    if groups.is_empty() {
        return String::new();
    }
    let mut grid = Grid::new(style, ["ELEMENTS", "COUNT", "STATE", "WORKER", "RESULT"], &[0, 4]).align_right(&[1]);
    for group in groups {
        grid.row([
            text(&group.elements, style),
            Cell::new(group.count),
            grid.state(group.state, ""),
            optional(group.worker_id.as_ref().map(|worker| worker.as_str()), style),
            optional(group.verdict.as_ref().map(ToString::to_string), style),
        ]);
    }
    format!("\n{}", grid.finish())
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

/// The states that any element is in.
fn tally(mut elements: Tally) -> String {
    let counts = TaskState::ALL.map(|state| (*elements.of(state), state));
    let parts = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, state)| format!("{count} {state}"));
    parts.collect::<Vec<_>>().join(", ")
}

fn attempts(attempts: &[AttemptView], style: &Style, now: WallTime) -> String {
    if attempts.is_empty() {
        return String::new();
    }
    let mut grid = Grid::new(style, ["ATTEMPT", "WORKER", "STATE", "PLACED", "TOOK", "RESULT"], &[5]);
    for attempt in attempts {
        let state = match attempt.state {
            AttemptState::Pending => "pending",
            AttemptState::Running => "running",
            AttemptState::Ended => "ended",
        };
        let took = attempt.started_at.map(|started| span(started, attempt.finished_at.unwrap_or(now)));
        grid.row([
            Cell::new(attempt.attempt),
            Cell::new(&attempt.worker_id),
            Cell::new(state),
            Cell::new(style.ago(now, attempt.placed_at)),
            optional(took, style),
            optional(result(attempt), style),
        ]);
    }
    format!("\n{}", grid.finish())
}

/// What was not collected of the runs before the last; of that one it is said above.
fn earlier_notes(view: &TaskView, style: &Style) -> String {
    let shown = usize::from(!view.output_notes.is_empty());
    let earlier = &view.attempts[..view.attempts.len().saturating_sub(shown)];
    let lines = earlier.iter().flat_map(|attempt| attempt.notes.iter().map(move |note| (attempt.attempt, note)));
    let lines: String = lines.map(|(number, note)| format!("Attempt {number}: {}\n", style.text(note))).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// How a run ended, and what it had that its task had not asked for.
fn result(attempt: &AttemptView) -> Option<String> {
    let memory = attempt.memory_bytes.map(|memory| format!("with {} of memory", Bytes(memory)));
    let pulling = attempt.pulling.as_ref().filter(|_| attempt.state == AttemptState::Pending);
    let pulling = pulling.map(pull_progress);
    let gpus = attempt.gpus.iter().map(|lease| format!("on {lease}"));
    let verdict = attempt.verdict.as_ref().map(ToString::to_string);
    let parts: Vec<_> = verdict.into_iter().chain(pulling).chain(memory).chain(gpus).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `pulling 1 GiB of 2 GiB`, and what keeps it.
fn pull_progress(pull: &PullProgress) -> String {
    let far = format!("pulling {} of {}", Bytes(pull.done_bytes), Bytes(pull.total_bytes));
    match &pull.failure {
        Some(failure) if pull.is_kept() => format!("pulling: {failure}"),
        Some(failure) => format!("{far}; {failure}"),
        None => far,
    }
}

/// `why`
pub(super) fn why(view: &WhyView, style: &Style) -> String {
    let mut lines = vec![format!("{} is {}: {}", view.task_id, view.state, view.summary)];
    if let Some(position) = view.position {
        lines.push(format!("Position: {position}"));
    }
    for reason in &view.reasons {
        let workers = match reason.workers {
            0 => String::new(),
            1 => "1 worker: ".to_owned(),
            many => format!("{many} workers: "),
        };
        lines.push(format!("  - {workers}{}", reason.message));
    }
    if view.can_never_run {
        lines.push("It can never run on the present workers.".to_owned());
    }
    if !view.hint.is_empty() {
        lines.push(format!("Hint: {}", view.hint));
    }
    lines.iter().map(|line| format!("{}\n", style.text(line))).collect()
}

#[cfg(test)]
mod tests {
    use shared::confinement::Profile;
    use shared::ranges::RangeSet;
    use shared::task::Verdict;
    use shared::view::ReasonView;

    use super::*;
    use crate::render::table::sample;

    #[test]
    fn a_task_in_full() {
        let expected = "\
Task:       task-01arz3ndektsv4rrffq69g5fav
Name:       sample
State:      failed: exit code 3
Exit code:  3
User:       alice
Image:      alpine:3.20
Command:    sh -c 'exit 3'
Resources:  CPU=1.0, Memory=0.50GB, GPU=0.0, Storage=1.0GB
Worker:     worker-1
Submitted:  2023-11-14 22:13:20 (2h ago)
Started:    2023-11-14 22:13:21 (waited 1.5s)
Finished:   2023-11-14 22:13:26 (ran 4.5s)
Outputs:    1 file, 1.5 KiB
Usage:      1s234ms of CPU time, 12 MiB of memory at the most
Killed:     1 process, for want of memory
Refused:    20 more processes or threads: it may have 4096 at a time
Output:     link\\u{1b} was not collected

ATTEMPT  WORKER    STATE  PLACED  TOOK  RESULT
1        worker-1  ended  2h ago  4.5s  exit code 3, with 16 GiB of memory, on 0.5 of GPU-1
";
        assert_eq!(show(&sample::task(), &Style::default(), sample::NOW), expected);
    }

    #[test]
    fn what_a_task_has_used_is_there_as_far_as_it_is_known() {
        let usage = TaskUsageView { memory_peak_bytes: None, oom_kills: Some(3), ..sample::task().usage.expect("one") };
        let confinement = Confinement { profile: Profile::Strict, ..Confinement::default() };
        let task = TaskView { usage: Some(usage), confinement, ..sample::task() };
        let text = show(&task, &Style::default(), sample::NOW);
        for line in [
            "Usage:      1s234ms of CPU time\n",
            "Killed:     3 processes, for want of memory\n",
            "Refused:    20 more processes or threads: it may have 256 at a time\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let quiet = TaskUsageView { cpu_ms: None, oom_kills: None, forks_refused: None, ..usage };
        let text = show(&TaskView { usage: Some(quiet), ..task }, &Style::default(), sample::NOW);
        assert!(!text.contains("Usage:") && !text.contains("Killed:") && !text.contains("Refused:"), "{text}");
    }

    #[test]
    fn what_a_program_has_run_is_not_what_came_after_it() {
        let finished = |task: &TaskView| {
            let text = show(task, &Style::default(), sample::NOW);
            text.lines().find(|line| line.starts_with("Finished:")).map(|line| line[32..].to_owned())
        };
        let task = sample::task();
        let run_ms = |ms| task.usage.map(|usage| TaskUsageView { run_ms: ms, ..usage });
        let short = TaskView { usage: run_ms(Some(1_200)), ..task.clone() };
        assert_eq!(finished(&short).as_deref(), Some("(ran 1.2s; its log and outputs were there 3.3s later)"));
        let most = TaskView { usage: run_ms(Some(3_900)), ..task.clone() };
        assert_eq!(finished(&most).as_deref(), Some("(ran 3.9s)"));
        let unknown = TaskView { usage: run_ms(None), ..task.clone() };
        assert_eq!(finished(&unknown).as_deref(), Some("(ran 4.5s)"));
        let absurd = TaskView { usage: run_ms(Some(u64::MAX)), ..task };
        assert!(finished(&absurd).is_some());
    }

    #[test]
    fn what_earlier_runs_have_lost_is_there() {
        let last = AttemptView { attempt: 2, ..sample::task().attempts.remove(0) };
        let first = AttemptView { attempt: 1, notes: vec!["the log may lack\x1b its end".into()], ..last.clone() };
        let task = TaskView { attempts: vec![first, last], ..sample::task() };
        let text = show(&task, &Style::default(), sample::NOW);
        assert!(text.ends_with("\n\nAttempt 1: the log may lack\\u{1b} its end\n"), "{text}");
        let open = TaskView { output_notes: vec![], ..task };
        let text = show(&open, &Style::default(), sample::NOW);
        assert!(text.ends_with(" its end\nAttempt 2: link\\u{1b} was not collected\n"), "{text}");
    }

    #[test]
    fn what_keeps_an_image_is_there() {
        let pending = AttemptView { state: AttemptState::Pending, verdict: None, ..sample::task().attempts.remove(0) };
        let pull = pending.pulling.clone().expect("a pull");
        let row = |pull| result(&AttemptView { pulling: Some(pull), ..pending.clone() }).unwrap_or_default();
        let failure = "3 tries failed, the last with: toomanyrequests, with 16 GiB of memory";
        assert!(row(pull.clone()).starts_with(&format!("pulling 1 GiB of 2 GiB; {failure}")));
        let none = PullProgress { done_bytes: 0, total_bytes: 0, ..pull };
        assert!(row(none.clone()).starts_with(&format!("pulling: {failure}")));
        assert!(row(PullProgress { failure: None, ..none }).starts_with("pulling 0 B of 0 B, with"));
    }

    #[test]
    fn what_becomes_of_it_is_there_while_its_worker_is_away() {
        let task = TaskView { unreachable: true, ..sample::task() };
        let kept = show(&task, &Style::default(), sample::NOW);
        assert!(kept.contains("\nAway:       its worker is not heard of, and no other one could take it: "), "{kept}");
        assert!(kept.contains(&format!("`cloudctl cancel {}` ends it\n", task.task_id)), "{kept}");
        let policy = RunPolicy { at_most_once: true, ..RunPolicy::default() };
        let once = show(&TaskView { policy, ..task }, &Style::default(), sample::NOW);
        assert!(once.contains("may run once at most; `cloudctl cancel --force task-"), "{once}");
    }

    #[test]
    fn what_it_asks_of_the_labels_of_its_worker_is_there() {
        let task = TaskView { worker_labels: sample::worker_labels(), ..sample::task() };
        let text = show(&task, &Style::default(), sample::NOW);
        assert!(text.contains("\nRuns where: disk=ssd, gpu, zone!=b\nWorker:     worker-1\n"), "{text}");
    }

    #[test]
    fn an_array_says_where_its_elements_are() {
        let task = TaskView { count: 10, elements: Some(sample::tally()), ..sample::task() };
        let text = show(&task, &Style::default(), sample::NOW);
        assert!(text.contains("Elements:   3 running, 5 completed, 2 failed\n"), "{text}");
        let group = ElementGroupView::of(&RangeSet::first(5), TaskState::Completed, Some(Verdict::Success), None);
        let text = show(&TaskView { groups: vec![group], ..task }, &Style::default(), sample::NOW);
        assert!(
            text.contains("ELEMENTS  COUNT  STATE      WORKER  RESULT\n0-4           5  completed  -       success\n"),
            "{text}"
        );
    }

    #[test]
    fn why_names_what_stands_in_the_way() {
        let view = WhyView {
            task_id: "task-x".into(),
            state: TaskState::Queued,
            summary: "no worker has 64 CPU".into(),
            position: Some(1),
            can_never_run: true,
            reasons: vec![ReasonView { code: "cpu".into(), workers: 2, message: "have\n4 CPU".into() }],
            hint: "ask for 4 CPU".into(),
        };
        let expected = "\
task-x is queued: no worker has 64 CPU
Position: 1
  - 2 workers: have\\n4 CPU
It can never run on the present workers.
Hint: ask for 4 CPU
";
        assert_eq!(why(&view, &Style::default()), expected);
    }
}
