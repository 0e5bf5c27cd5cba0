//! A full disk, and the runs that have more on it than was reserved for them. They end one at a time, the one first that is
//! furthest over, and what the others have is looked at again when its room is free: by then there may be enough for them.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::id::AttemptKey;
use shared::task::StoredPart;
use shared::time::{BootTime, Now};

use super::Agent;
use super::effect::AgentEffect;
use super::journal::{StopOrder, StopReason};
use super::run::{Run, Stage, Stop};

/// How long the first that is over waits for what is said of the others: each is looked at by itself, most in a moment.
const LOOKS: Duration = Duration::from_secs(5);
/// How long others wait for the room of one that has been ended: what it has left goes to the master first, which may be away,
/// and they may go on writing meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs that are over, and have not been told to end.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    used: BTreeMap<AttemptKey, Used>,
    /// Since when they wait: since the first was known, or since the last one was told to end.
    since: Option<BootTime>,
}

/// What one stores.
#[derive(Debug)]
struct Used {
    bytes: u64,
    /// What takes the most of it.
    largest: Vec<StoredPart>,
}

impl Agent {
    /// It stores more than it may. Where that was only reserved for it, others on the same disk may be further over.
    pub(super) fn on_storage_exceeded(
        &mut self,
        now: Now,
        key: AttemptKey,
        (used_bytes, largest): (Option<u64>, Vec<StoredPart>),
        effects: &mut Vec<AgentEffect>,
    ) {
        match used_bytes {
            Some(bytes) if self.runs.get(&key).is_some_and(Run::may_be_over) => {
                self.crowd.used.insert(key, Used { bytes, largest });
                self.crowd.since.get_or_insert(now.boot);
                self.make_room(now, effects);
            }
            Some(_) | None => self.on_run(now, key, effects, |run, out| run.storage_exceeded(used_bytes, largest, out)),
        }
    }

    /// Ends the one that is furthest over, if it is time for that.
    pub(super) fn make_room(&mut self, now: Now, effects: &mut Vec<AgentEffect>) {
        // Some have ended meanwhile.
        self.crowd.used.retain(|key, _| self.runs.get(key).is_some_and(Run::may_be_over));
        if self.crowd.used.is_empty() {
            self.crowd.since = None;
        }
        if self.room_due().is_none_or(|due| now.boot < due) {
            return;
        }
        let over =
            |key: &AttemptKey, used: &Used| self.runs.get(key).map(|run| used.bytes.saturating_sub(run.storage_limit));
        // Of two alike the later one: it has done less.
        let furthest = self.crowd.used.iter().max_by_key(|&(key, used)| (over(key, used), *key));
        let furthest = furthest.map(|(key, _)| *key);
        if let Some((key, Used { bytes, largest })) = furthest.and_then(|key| self.crowd.used.remove_entry(&key)) {
            self.crowd.since = (!self.crowd.used.is_empty()).then_some(now.boot);
            self.on_run(now, key, effects, |run, out| run.storage_exceeded(Some(bytes), largest, out));
        }
    }

    /// When the next one has to end; none if none is known to be over.
    pub(super) fn room_due(&self) -> Option<BootTime> {
        let since = self.crowd.since?;
        let is_known = |run: &Run| self.crowd.used.contains_key(&run.key);
        Some(match self.runs.values().any(Run::makes_room) {
            true => since + PATIENCE,
            false if self.runs.values().filter(|run| run.may_be_over()).all(is_known) => since,
            false => since + LOOKS,
        })
    }

    /// Nothing is left of one that was ended for its room: who waited for that is looked at again.
    pub(super) fn look_again(&mut self, effects: &mut Vec<AgentEffect>) {
        let used = std::mem::take(&mut self.crowd).used;
        let waited = used.keys().filter_map(|key| self.runs.get(key)).filter(|run| run.may_be_over());
        effects.extend(waited.map(Run::watch_storage));
    }
}

impl Run {
    /// Whether it runs, and has to end where it has more than was reserved for it and there is no room.
    fn may_be_over(&self) -> bool {
        self.storage_reserved && self.storage_limit > 0 && !self.has_ended && matches!(self.stage, Stage::Running(_))
    }

    /// Whether it was ended for the room that it takes, or is being removed unheard, and that is not free yet.
    pub(super) fn makes_room(&self) -> bool {
        self.storage_reserved
            && match &self.stop {
                Some(Stop::Order(StopOrder { reason, .. })) => matches!(reason, StopReason::Storage { .. }),
                Some(Stop::Discard) => true,
                None => false,
            }
    }
}
