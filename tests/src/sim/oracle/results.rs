//! A result is recorded once per element, and agrees with what the container of its attempt really did.

use std::sync::Arc;

use cloudaid_core::record::ResultRecord;
use cloudaid_core::settings::Settings;
use cloudaid_core::testkit::Saved;
use shared::task::Verdict;

use super::cancels::Cancels;
use super::containers::Containers;
use crate::sim::Check;
use crate::sim::reach::{Probe, Reach};
use crate::sim::script::{BROKEN_IMAGE, MISSING_IMAGE};

pub(crate) fn check(
    saved: &Saved,
    result: &ResultRecord,
    containers: &Containers,
    cancels: &Cancels,
    reach: &mut Reach,
) -> Check {
    let element = result.element;
    if saved.results.contains_key(&(element.task, element.index)) {
        return Err(format!("{element} has ended twice"));
    }
    let attempt = saved.attempts.get(&(element.task, element.index, result.attempt));
    let ended = attempt.and_then(|attempt| containers.end_of(attempt.key));
    let spec = saved.tasks.get(&element.task).map(|(record, _)| Arc::clone(&record.spec));
    let image = spec.as_ref().map(|spec| spec.image.clone()).unwrap_or_default();
    let policy = spec.map(|spec| spec.policy.clone()).unwrap_or_default();
    let cancelled = cancels.was_requested(element);
    let (agrees, probe) = match &result.verdict {
        Verdict::Success => (ended.is_some_and(|ended| ended.code == 0), Some(Probe::SuccessRecorded)),
        Verdict::ExitCode { exit_code } => {
            (ended.is_some_and(|ended| ended.code == *exit_code && !ended.oom), Some(Probe::ExitCodeRecorded))
        }
        Verdict::Signal { signal, .. } => (
            ended.is_some_and(|ended| ended.code == 128 + signal && !ended.oom && !ended.by_engine),
            Some(Probe::SignalRecorded),
        ),
        Verdict::Oom { .. } => (ended.is_some_and(|ended| ended.oom), Some(Probe::OutOfMemory)),
        Verdict::Cancelled => (cancelled, Some(Probe::CancelledAfterAll)),
        Verdict::WorkerLost { .. } if policy.at_most_once => (true, Some(Probe::OnceLost)),
        Verdict::WorkerLost { .. } => {
            (result.attempt >= Settings::default().infrastructure_attempts, Some(Probe::BudgetUsedUp))
        }
        // A registry that stays down ends a task like an image that is not there.
        Verdict::Image { .. } => (image != BROKEN_IMAGE && ended.is_none(), None),
        Verdict::Setup { .. } => (image == BROKEN_IMAGE && ended.is_none(), None),
        Verdict::Timeout { .. } => (policy.time_limit.is_some(), Some(Probe::TimeoutRecorded)),
        Verdict::QueueTimeout { .. } => (policy.queue_time_limit.is_some(), Some(Probe::QueueTimeoutRecorded)),
        Verdict::Rejected { .. } => (policy.at_most_once, None),
        Verdict::Disk { .. } => (false, None),
    };
    if image == MISSING_IMAGE && ended.is_some() {
        return Err(format!("{element} ran without its image"));
    }
    let own = matches!(
        result.verdict,
        Verdict::Success | Verdict::ExitCode { .. } | Verdict::Signal { .. } | Verdict::Oom { .. }
    );
    if own && attempt.is_some_and(|attempt| containers.was_stopped(attempt.key)) {
        return Err(format!("{element} was stopped from outside and is recorded with `{}`", result.verdict));
    }
    if !agrees {
        return Err(format!("{element} is recorded with `{}`, but its container ended with {ended:?}", result.verdict));
    }
    if cancelled && result.verdict != Verdict::Cancelled {
        reach.hit(Probe::EndedDespiteCancel);
    }
    probe.into_iter().for_each(|probe| reach.hit(probe));
    Ok(())
}
