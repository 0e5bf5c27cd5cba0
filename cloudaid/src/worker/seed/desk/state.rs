//! The tasks by both of their names, and the session of the agent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shared::id::{AttemptKey, TaskId};
use shared::link::{Decision, ToWorker};
use tokio::sync::mpsc;

use super::Known;
use crate::worker::seed::acks::Acks;
use crate::worker::seed::ledger::Record;
use crate::worker::seed::spool::Spool;

/// How long an ended task is remembered, so that its log can be read and it is not run again by an order that comes twice;
/// and how many at most.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
const REMEMBERED_LIMIT: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) by_wire_id: BTreeMap<String, TaskId>,
    pub(super) session: Option<Session>,
    pub(super) sessions: u64,
    pub(super) last_fence: u64,
    /// Whether a master has registered us, or let us register, since this start.
    pub(super) admitted: bool,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) record: Record,
    pub(super) spool: Arc<Spool>,
    pub(super) reporting: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    /// Bounded by the tasks that there are, a few messages each.
    pub(super) say: mpsc::UnboundedSender<ToWorker>,
    pub(super) acks: Acks,
}

impl State {
    pub(super) fn insert(&mut self, record: Record, spool: Arc<Spool>) {
        let id = record.assignment.key.task;
        self.by_wire_id.insert(record.wire_id.clone(), id);
        self.tasks.insert(id, Task { record, spool, reporting: false });
    }

    pub(super) fn replace(&mut self, record: Record) {
        if let Some(task) = self.tasks.get_mut(&record.assignment.key.task) {
            task.record = record;
        }
    }

    /// What is to become of a run that the agent holds.
    pub(super) fn decide(&self, key: AttemptKey) -> Decision {
        match self.tasks.get(&key.task).filter(|task| task.record.assignment.key == key) {
            Some(task) if task.record.end.is_some() => Decision::Forget,
            Some(_) => Decision::Keep,
            None => Decision::Stop,
        }
    }

    pub(super) fn by_wire_id(&mut self, wire_id: &str) -> Option<&mut Task> {
        self.tasks.get_mut(self.by_wire_id.get(wire_id)?)
    }

    pub(super) fn live(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter(|task| task.record.end.is_none())
    }

    pub(super) fn live_with(&self, key: AttemptKey) -> Option<&Task> {
        self.tasks.get(&key.task).filter(|task| task.record.assignment.key == key && task.record.end.is_none())
    }

    /// Says something to the agent. Without a session nothing is said: the next one begins with everything.
    pub(super) fn say(&self, message: ToWorker) {
        let is_empty = match &message {
            ToWorker::Assign(list) => list.is_empty(),
            ToWorker::Cancel(list) => list.is_empty(),
            ToWorker::Welcome(_)
            | ToWorker::Ack { .. }
            | ToWorker::Inquire { .. }
            | ToWorker::Decide(_)
            | ToWorker::Heard { .. }
            | ToWorker::Goodbye { .. } => false,
        };
        if let Some(session) = self.session.as_ref().filter(|_| !is_empty) {
            let _ = session.say.send(message);
        }
    }

    /// Takes out what has ended too long ago to be remembered, and the oldest of what is too much.
    pub(super) fn take_old(&mut self, now: i64) -> Vec<TaskId> {
        let ended = |task: &Task| task.record.end.as_ref().filter(|_| !task.reporting).map(|end| end.at.0);
        let mut ended: Vec<_> = self.tasks.iter().filter_map(|(id, task)| Some((ended(task)?, *id))).collect();
        ended.sort_unstable();
        let too_many = ended.len().saturating_sub(REMEMBERED_LIMIT);
        let least = now.saturating_sub(i64::try_from(REMEMBERED_FOR.as_millis()).unwrap_or(i64::MAX));
        let old = ended.into_iter().enumerate().filter(|(place, (at, _))| *place < too_many || *at < least);
        let old: Vec<_> = old.map(|(_, (_, id))| id).collect();
        for id in &old {
            if let Some(task) = self.tasks.remove(id) {
                self.by_wire_id.remove(&task.record.wire_id);
            }
        }
        old
    }
}

impl Task {
    pub(super) fn known(&self) -> Known {
        Known { record: self.record.clone(), spool: Arc::clone(&self.spool) }
    }
}

impl Session {
    pub(super) fn acknowledge(&mut self) {
        if let Some(through) = self.acks.due() {
            let _ = self.say.send(ToWorker::Ack { through });
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::time::WallTime;

    use super::*;
    use crate::worker::seed::ledger::{End, Status};
    use crate::worker::seed::task::tests::record;

    fn with(ends: &[Option<i64>]) -> State {
        let mut state = State::default();
        for (number, end) in ends.iter().enumerate() {
            let mut record = record(&number.to_string());
            record.end = end.map(|at| End { status: Status::Success, remarks: Vec::new(), at: WallTime(at) });
            state.insert(record, Arc::new(Spool::new("/nowhere".into())));
        }
        state
    }

    fn left(state: &State) -> Vec<String> {
        let mut ids: Vec<_> = state.tasks.values().map(|task| task.record.wire_id.clone()).collect();
        assert_eq!(state.by_wire_id.len(), ids.len());
        ids.sort_by_key(|id| id.parse::<usize>().expect("a number"));
        ids
    }

    #[test]
    fn what_has_ended_is_remembered_for_an_hour() {
        let hour = 3_600_000;
        let mut state = with(&[Some(0), Some(1), None, Some(hour)]);
        assert_eq!(state.take_old(hour + 1).len(), 1);
        assert_eq!(left(&state), ["1", "2", "3"]);
        state.by_wire_id("1").expect("there").reporting = true;
        assert_eq!(state.take_old(hour * 9).len(), 1);
        assert_eq!(left(&state), ["1", "2"], "what is reported again stays, and what lives");
    }

    #[test]
    fn of_too_many_the_oldest_go() {
        let mut state = with(&(0..REMEMBERED_LIMIT as i64 + 2).map(Some).collect::<Vec<_>>());
        assert_eq!(state.take_old(0).len(), 2);
        assert_eq!(left(&state)[0], "2");
    }

    #[test]
    fn the_agent_hears_what_to_do_with_each_run() {
        let mut state = with(&[None, Some(1)]);
        let key = |state: &mut State, id| state.by_wire_id(id).expect("there").record.assignment.key;
        let (live, ended) = (key(&mut state, "0"), key(&mut state, "1"));
        let other = AttemptKey { attempt: 2, ..live };
        assert_eq!(
            [live, ended, other].map(|key| state.decide(key)),
            [Decision::Keep, Decision::Forget, Decision::Stop]
        );
    }
}
