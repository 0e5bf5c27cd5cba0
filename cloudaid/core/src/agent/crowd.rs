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
/// How long it counts what was measured: a disk that was full then may have room by now. Longer than all looks take.
const FRESH: Duration = Duration::from_secs(10);

/// Runs that are over, and have not been told to end.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    used: BTreeMap<AttemptKey, Used>,
    /// Since when the first of them is known.
    since: Option<BootTime>,
    /// Since when they wait for room: since the first was known, or since the last one was told to end.
    waits: BootTime,
    /// When they were last looked at again though what they wait for was not over.
    looked: Option<BootTime>,
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
                if self.crowd.used.is_empty() && !self.crowd.was_looked_at(PATIENCE, now) {
                    self.crowd.waits = now.boot;
                }
                self.crowd.used.insert(key, Used { bytes, largest });
                self.crowd.since.get_or_insert(now.boot);
                self.make_room(now, effects);
            }
            Some(_) | None => self.on_run(now, key, effects, |run, out| run.storage_exceeded(used_bytes, largest, out)),
        }
    }

    /// Ends the one that is furthest over, if it is time for that. Where what is known of them is old, they are looked at again
    /// first.
    pub(super) fn make_room(&mut self, now: Now, effects: &mut Vec<AgentEffect>) {
        // Some have ended meanwhile.
        self.crowd.used.retain(|key, _| self.runs.get(key).is_some_and(Run::may_be_over));
        if self.crowd.used.is_empty() {
            self.crowd.since = None;
        }
        if self.room_due().is_none_or(|due| now.boot < due) {
            return;
        }
        if self.crowd.since.is_some_and(|since| now.boot.since(since) > FRESH) {
            self.look_early(now, effects);
            return;
        }
        let over =
            |key: &AttemptKey, used: &Used| self.runs.get(key).map(|run| used.bytes.saturating_sub(run.storage_limit));
        // Of two alike the later one: it has done less.
        let furthest = self.crowd.used.iter().max_by_key(|&(key, used)| (over(key, used), *key));
        let furthest = furthest.map(|(key, _)| *key);
        if let Some((key, Used { bytes, largest })) = furthest.and_then(|key| self.crowd.used.remove_entry(&key)) {
            self.crowd.waits = now.boot;
            if self.crowd.used.is_empty() {
                self.crowd.since = None;
            }
            self.on_run(now, key, effects, |run, out| run.storage_exceeded(Some(bytes), largest, out));
        }
    }

    /// When the next one has to end; none if none is known to be over.
    pub(super) fn room_due(&self) -> Option<BootTime> {
        let since = self.crowd.since?;
        let is_known = |run: &Run| self.crowd.used.contains_key(&run.key);
        let all_known = self.runs.values().filter(|run| run.may_be_over()).all(is_known);
        let looks = if all_known { since } else { since + LOOKS };
        Some(match self.runs.values().any(Run::makes_room) {
            true => looks.max(self.crowd.waits + PATIENCE),
            false => looks,
        })
    }

    /// Nothing is left of one: who is over is looked at again. Where that was not what they wait for, they wait on, and are not
    /// looked at each time that one of many goes.
    pub(super) fn room_was_made(&mut self, now: Now, was_waited_for: bool, effects: &mut Vec<AgentEffect>) {
        if was_waited_for {
            self.look_again(effects);
            self.crowd = Crowd::default();
        } else if self.waits_for_room() && !self.crowd.was_looked_at(FRESH, now) {
            self.look_early(now, effects);
        }
    }

    /// Whether somebody who is over would have to end, if it were not for one that ends already.
    fn waits_for_room(&self) -> bool {
        !self.crowd.used.is_empty() && self.runs.values().any(Run::makes_room)
    }

    fn look_early(&mut self, now: Now, effects: &mut Vec<AgentEffect>) {
        self.look_again(effects);
        self.crowd.looked = Some(now.boot);
    }

    /// What was known of those that are over is old.
    fn look_again(&mut self, effects: &mut Vec<AgentEffect>) {
        self.crowd.since = None;
        let used = std::mem::take(&mut self.crowd.used);
        let waited = used.keys().filter_map(|key| self.runs.get(key)).filter(|run| run.may_be_over());
        effects.extend(waited.map(Run::watch_storage));
    }
}

impl Crowd {
    /// Whether they were looked at again no longer ago than that, though what they wait for was not over.
    fn was_looked_at(&self, ago: Duration, now: Now) -> bool {
        self.looked.is_some_and(|looked| now.boot.since(looked) <= ago)
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
