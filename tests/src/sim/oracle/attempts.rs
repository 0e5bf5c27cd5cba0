//! Attempts of an element follow each other one by one, each after the end of the one before; the infrastructure may end
//! only so many, and of failures of its own only those are followed by another that the task wants retried; what may run
//! once at most is not started again; what has ended does not change; what is said to run was started; fences grow.

use cloudaid_core::record::AttemptRecord;
use cloudaid_core::settings::Settings;
use cloudaid_core::testkit::Saved;
use shared::id::Fence;
use shared::task::{AttemptState, Verdict};

use super::containers::Containers;
use crate::sim::Check;
use crate::sim::reach::{Probe, Reach};

/// The largest fence so far.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    last: Option<Fence>,
}

impl Attempts {
    pub(crate) fn check(
        &mut self,
        saved: &Saved,
        containers: &Containers,
        new: &AttemptRecord,
        reach: &mut Reach,
    ) -> Check {
        let key = new.key;
        if new.state == AttemptState::Running && !containers.was_started(key) {
            return Err(format!("{key} is recorded as running, but was never started"));
        }
        match saved.attempts.get(&(key.task, key.index, key.attempt)) {
            Some(old) if old.key != key || old.worker != new.worker => Err(format!("{key} became another run")),
            Some(old) if old.verdict.is_some() && old != new => Err(format!("{key} had ended and was changed")),
            Some(_) => Ok(()),
            None => self.check_new(saved, containers, new, reach),
        }
    }

    fn check_new(&mut self, saved: &Saved, containers: &Containers, new: &AttemptRecord, reach: &mut Reach) -> Check {
        let key = new.key;
        let earlier = saved.attempts.range((key.task, key.index, 0)..=(key.task, key.index, u32::MAX));
        let policy = saved.tasks.get(&key.task).map(|(record, _)| record.spec.policy.clone()).unwrap_or_default();
        let (mut lost, mut failed) = (0, 0);
        for (_, attempt) in earlier {
            let is_infrastructure = attempt.verdict.as_ref().is_some_and(Verdict::is_infrastructure);
            *(if is_infrastructure { &mut lost } else { &mut failed }) += 1;
            let wanted = attempt.verdict.as_ref().is_some_and(|verdict| policy.wants_retry(verdict, failed));
            if !is_infrastructure && !wanted {
                return Err(format!("{key} follows a run that ended with {:?}", attempt.verdict));
            }
            if policy.at_most_once && containers.was_started(attempt.key) {
                return Err(format!("{key} may run once at most, and {} was started", attempt.key));
            }
        }
        if failed > 0 {
            reach.hit(Probe::Retried);
        }
        if key.attempt != lost + failed + 1 {
            return Err(format!("{key} is run number {}", lost + failed + 1));
        }
        if lost >= Settings::default().infrastructure_attempts {
            return Err(format!("{key} is more than the infrastructure may cost"));
        }
        if saved.results.contains_key(&(key.task, key.index)) {
            return Err(format!("{key} is a run of an element that is over"));
        }
        if self.last >= Some(key.fence) {
            return Err(format!("{key} has fence {}, which is not new", key.fence));
        }
        self.last = Some(key.fence);
        Ok(())
    }
}
