//! From what the store holds to what the API shows.

use cloudaid_core::record::{AttemptRecord, ResultRecord};
use shared::id::{ElementId, TaskRef};
use shared::link::Outcome;
use shared::task::{AttemptState, TaskState, Verdict};
use shared::view::{AttemptView, Tally, TaskUsageView, TaskView, TimelineView};

use crate::store::StoredTask;

/// A submission as a whole, with its runs if they were asked for. Of an array the runs and verdicts are those of its
/// elements, so there are none here.
pub(crate) fn task(stored: &StoredTask, attempts: Option<&[AttemptRecord]>) -> TaskView {
    let plain = stored.record.array.is_none();
    let mut view = blank(stored, TaskRef::from(stored.record.id));
    view.state = stored.progress.state();
    view.started_at = stored.progress.started_at;
    view.finished_at = stored.progress.finished_at;
    view.cancelling = !stored.progress.cancelling.is_empty();
    view.unreachable = !stored.progress.unreachable.is_empty();
    view.elements = (!plain).then_some(stored.progress.tally);
    if plain {
        fill_end(&mut view, stored.last_attempt.as_ref(), stored.result.as_ref());
    }
    if let Some(attempts) = attempts {
        fill_runs(&mut view, attempts, stored.result.as_ref());
    }
    view
}

/// Several elements of an array, of which so many are in each state.
pub(crate) fn elements(stored: &StoredTask, target: TaskRef, tally: Tally) -> TaskView {
    let (first, last) = target.elements.bounds();
    let mut view = blank(stored, target);
    view.state = tally.summary();
    view.count = stored.record.indices().within(first, last).len();
    view.elements = Some(tally);
    view
}

/// One element of an array.
pub(crate) fn element(
    stored: &StoredTask,
    element: ElementId,
    attempts: &[AttemptRecord],
    result: Option<&ResultRecord>,
) -> TaskView {
    let mut view = blank(stored, element.into());
    let last = attempts.last();
    view.state = match (result, last.map(|attempt| attempt.state)) {
        (Some(result), _) => result.verdict.state(),
        (None, Some(AttemptState::Pending)) => TaskState::Pending,
        (None, Some(AttemptState::Running)) => TaskState::Running,
        (None, Some(AttemptState::Ended) | None) => TaskState::Queued,
    };
    view.started_at = attempts.iter().find_map(|attempt| attempt.started_at);
    view.finished_at = result.map(|result| result.finished_at);
    view.cancelling = stored.progress.cancelling.contains(element.index);
    view.unreachable = stored.progress.unreachable.contains(element.index);
    fill_end(&mut view, last, result);
    fill_runs(&mut view, attempts, result);
    view.count = 1;
    view
}

fn fill_end(view: &mut TaskView, last: Option<&AttemptRecord>, result: Option<&ResultRecord>) {
    view.worker_id = last.map(|attempt| attempt.worker.clone());
    view.confinement = last.and_then(|attempt| attempt.confinement).unwrap_or(view.confinement);
    let Some(result) = result else { return };
    view.verdict = Some(result.verdict.clone());
    view.exit_code = result.verdict.exit_code();
    view.usage = usage(result);
    view.worker_id = result.worker.clone().or_else(|| view.worker_id.take());
    view.output_notes = result.outcome.as_ref().map(|outcome| outcome.output_notes.clone()).unwrap_or_default();
}

/// The runs, and what happened in which order.
fn fill_runs(view: &mut TaskView, attempts: &[AttemptRecord], result: Option<&ResultRecord>) {
    view.attempts = attempts.iter().map(attempt).collect();
    // All that is known of the last run is with the result.
    let ended = result.and_then(|result| Some((result.attempt, result.outcome.as_ref()?)));
    if let Some((number, outcome)) = ended
        && let Some(last) = view.attempts.iter_mut().find(|run| run.attempt == number)
    {
        last.notes.clone_from(&outcome.output_notes);
    }
    let of_task = |at, event: &str, verdict| TimelineView {
        at,
        event: event.to_owned(),
        attempt: None,
        worker_id: None,
        verdict,
    };
    view.timeline = vec![of_task(view.submitted_at, "submitted", None)];
    for run in &view.attempts {
        let of_run = |at, event: &str, verdict| TimelineView {
            attempt: Some(run.attempt),
            worker_id: Some(run.worker_id.clone()),
            ..of_task(at, event, verdict)
        };
        view.timeline.push(of_run(run.placed_at, "placed", None));
        view.timeline.extend(run.started_at.map(|at| of_run(at, "started", None)));
        view.timeline.extend(run.finished_at.map(|at| of_run(at, "ended", run.verdict.clone())));
    }
    if let Some(result) = result {
        view.timeline.push(of_task(result.finished_at, "finished", Some(result.verdict.clone())));
    }
}

fn usage(result: &ResultRecord) -> Option<TaskUsageView> {
    let Outcome { started_at, finished_at, stdout_bytes, stderr_bytes, output_files, output_bytes, usage, .. } =
        *result.outcome.as_ref()?;
    let run_ms = started_at.map(|started| u64::try_from(finished_at.0.saturating_sub(started.0)).unwrap_or(0));
    Some(TaskUsageView {
        run_ms,
        stdout_bytes,
        stderr_bytes,
        output_files: output_files.into(),
        output_bytes: output_bytes.or_else(|| (output_files == 0).then_some(0)),
        cpu_ms: usage.map(|usage| usage.cpu_ms),
        memory_peak_bytes: known(usage.map(|usage| usage.memory_peak_bytes)),
        oom_kills: known(usage.map(|usage| usage.oom_kills)),
        forks_refused: known(usage.map(|usage| usage.forks_refused)),
    })
}

/// Workers say 0 where they have seen nothing.
fn known(number: Option<u64>) -> Option<u64> {
    number.filter(|number| *number > 0)
}

fn blank(stored: &StoredTask, id: TaskRef) -> TaskView {
    let record = &stored.record;
    TaskView {
        task_id: id.to_string(),
        name: record.spec.name.clone(),
        state: TaskState::Queued,
        exit_code: None,
        verdict: None,
        worker_id: None,
        attempts: Vec::new(),
        timeline: Vec::new(),
        usage: None,
        submitted_at: record.submitted_at,
        started_at: None,
        finished_at: None,
        user: record.user.clone(),
        image: record.spec.image.clone(),
        pinned_image: stored.progress.image.clone(),
        pull: record.spec.pull,
        confinement: record.spec.confinement,
        command: record.spec.command.clone(),
        resources: record.spec.resources,
        labels: record.spec.labels.clone(),
        dispatched_to: record.spec.worker.clone(),
        worker_labels: record.spec.worker_labels.clone(),
        input: record.spec.input,
        count: record.count(),
        array: record.array.as_ref().map(ToString::to_string),
        elements: None,
        groups: Vec::new(),
        retry_of: record.retry_of.map(|id| id.to_string()),
        cancelling: false,
        unreachable: false,
        policy: record.spec.policy.clone(),
        output_notes: Vec::new(),
    }
}

fn attempt(record: &AttemptRecord) -> AttemptView {
    AttemptView {
        attempt: record.key.attempt,
        worker_id: record.worker.clone(),
        state: record.state,
        verdict: record.verdict.clone(),
        memory_bytes: record.memory,
        gpus: record.gpus.clone(),
        pulling: None,
        notes: record.notes.clone(),
        placed_at: record.placed_at,
        started_at: record.started_at,
        finished_at: record.finished_at,
    }
}

/// How a task that is over ended, in words.
pub(crate) fn end_in_words(state: TaskState, verdict: Option<&Verdict>) -> String {
    let how = verdict.map_or_else(|| state.to_string(), ToString::to_string);
    format!("it does not wait: it has ended ({how})")
}

#[cfg(test)]
mod tests {
    use shared::link::ContainerUsage;

    use super::*;
    use crate::store::contract::fixture;

    #[test]
    fn each_run_has_notes_of_its_own() {
        let first = fixture::ended(fixture::attempt(1, 0, 1, "w1"));
        let second = AttemptRecord { notes: vec![], ..fixture::ended(fixture::attempt(1, 0, 2, "w1")) };
        let result = ResultRecord { attempt: 2, ..fixture::result(1, 0, Verdict::Success) };
        let stored = StoredTask {
            record: fixture::task(1),
            progress: fixture::completed(1),
            last_attempt: Some(second.clone()),
            result: Some(result),
        };
        let view = task(&stored, Some(&[first, second]));
        let notes: Vec<_> = view.attempts.iter().flat_map(|run| &run.notes).collect();
        assert_eq!(notes, ["the log may lack its end", "link: not followed"]);
        assert_eq!(view.output_notes, ["link: not followed"]);
    }

    #[test]
    fn the_bytes_of_outputs_are_shown_where_they_were_said_or_there_are_no_outputs() {
        let mut result = fixture::result(1, 0, Verdict::Success);
        let mut shown = |files, bytes| {
            if let Some(outcome) = &mut result.outcome {
                (outcome.output_files, outcome.output_bytes) = (files, bytes);
            }
            usage(&result).expect("what it used").output_bytes
        };
        assert_eq!((shown(2, Some(7)), shown(2, None), shown(0, None)), (Some(7), None, Some(0)));
    }

    #[test]
    fn what_its_worker_has_not_seen_is_not_shown() {
        let mut result = fixture::result(1, 0, Verdict::Success);
        let mut shown = |of: Option<ContainerUsage>| {
            if let Some(outcome) = &mut result.outcome {
                outcome.usage = of;
            }
            let view = usage(&result).expect("what it used");
            (view.cpu_ms, view.memory_peak_bytes, view.oom_kills, view.forks_refused)
        };
        let all = ContainerUsage { cpu_ms: 7, memory_peak_bytes: 4096, oom_kills: 1, forks_refused: 2 };
        assert_eq!(shown(Some(all)), (Some(7), Some(4096), Some(1), Some(2)));
        assert_eq!(shown(Some(ContainerUsage::default())), (Some(0), None, None, None));
        assert_eq!(shown(None), (None, None, None, None));
    }
}
