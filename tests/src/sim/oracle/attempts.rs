//! Attempts of an element follow each other one by one, each after the end of the one before, and the infrastructure may
//! end only so many; what has ended does not change; what is said to run was started; fences grow.

use cloudaid_core::record::AttemptRecord;
use cloudaid_core::settings::Settings;
use cloudaid_core::testkit::Saved;
use shared::id::Fence;
use shared::task::{AttemptState, Verdict};

use super::containers::Containers;
use crate::sim::Check;

/// The largest fence so far.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    last: Option<Fence>,
}

impl Attempts {
    pub(crate) fn check(&mut self, saved: &Saved, containers: &Containers, new: &AttemptRecord) -> Check {
        let key = new.key;
        if new.state == AttemptState::Running && !containers.was_started(key) {
            return Err(format!("{key} is recorded as running, but was never started"));
        }
        match saved.attempts.get(&(key.task, key.index, key.attempt)) {
            Some(old) if old.key != key || old.worker != new.worker => Err(format!("{key} became another run")),
            Some(old) if old.verdict.is_some() && old != new => Err(format!("{key} had ended and was changed")),
            Some(_) => Ok(()),
            None => self.check_new(saved, new),
        }
    }

    fn check_new(&mut self, saved: &Saved, new: &AttemptRecord) -> Check {
        let key = new.key;
        let earlier = saved.attempts.range((key.task, key.index, 0)..=(key.task, key.index, u32::MAX));
        let mut count = 0;
        for (_, attempt) in earlier {
            count += 1;
            if !attempt.verdict.as_ref().is_some_and(Verdict::is_infrastructure) {
                return Err(format!("{key} follows a run that ended with {:?}", attempt.verdict));
            }
        }
        if key.attempt != count + 1 {
            return Err(format!("{key} is run number {}", count + 1));
        }
        if key.attempt > Settings::default().infrastructure_attempts {
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
