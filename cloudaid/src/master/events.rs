//! What has happened to tasks and workers, kept for a while, so that whoever was away for a moment misses nothing.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use cloudaid_core::event::Event;
use parking_lot::Mutex;
use shared::id::{Epoch, TaskId, TaskRef, UserName};
use shared::view::{EventFrame, EventKind, EventView};
use tokio::sync::watch;

use crate::clock;

/// Events kept.
const KEPT: usize = 10_000;

/// An event, and who may hear of it.
#[derive(Debug)]
pub struct Happened {
    view: EventView,
    /// As it is sent; written once for all who hear it.
    json: OnceLock<Arc<str>>,
}

impl Happened {
    /// Whose it is; none: everybody's.
    #[must_use]
    pub fn owner(&self) -> Option<&UserName> {
        self.view.user.as_ref()
    }

    /// The task that it is about.
    #[must_use]
    pub fn task(&self) -> Option<&str> {
        self.view.task_id.as_deref()
    }

    /// The frame that tells it.
    #[must_use]
    pub fn json(&self) -> Arc<str> {
        let write = || {
            let frame = EventFrame::Event { event: self.view.clone() };
            serde_json::to_string(&frame).unwrap_or_default().into()
        };
        Arc::clone(self.json.get_or_init(write))
    }
}

/// Where an event stands: the start of the master, and its number in it. Written as `<epoch>.<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventCursor {
    /// Which start.
    pub epoch: u32,
    /// 1 is the first.
    pub number: u64,
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

impl FromStr for EventCursor {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text
            .split_once('.')
            .and_then(|(epoch, number)| Some(Self { epoch: epoch.parse().ok()?, number: number.parse().ok()? }));
        parsed.ok_or("it is none: take it from `cursor` of an event")
    }
}

/// The events of this start of the master.
#[derive(Debug)]
pub struct Events {
    epoch: u32,
    log: Mutex<Log>,
    /// The number of the last one.
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Log {
    kept: VecDeque<Arc<Happened>>,
    last: u64,
    /// Of tasks that have not ended.
    owners: HashMap<TaskId, UserName>,
}

/// What a reader gets.
#[derive(Debug, Default)]
pub struct Read {
    /// Whether some before them are not known any more.
    pub lagged: bool,
    /// In their order.
    pub events: Vec<Arc<Happened>>,
    /// The number of the last of them.
    pub last: u64,
}

impl Events {
    pub(crate) fn new(epoch: Epoch, owners: impl IntoIterator<Item = (TaskId, UserName)>) -> Self {
        let log = Log { owners: owners.into_iter().collect(), ..Log::default() };
        Self { epoch: epoch.0, log: Mutex::new(log), last: watch::Sender::new(0) }
    }

    /// Changes when something has happened.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// The number behind which a reader begins who has a cursor, and whether they have missed something.
    #[must_use]
    pub fn begin(&self, after: Option<EventCursor>) -> (u64, bool) {
        let log = self.log.lock();
        match after {
            None => (log.last, false),
            Some(cursor) if cursor.epoch == self.epoch && cursor.number <= log.last => (cursor.number, false),
            Some(_) => (0, true),
        }
    }

    /// What came after `number`, at most `limit`.
    #[must_use]
    pub fn after(&self, number: u64, limit: usize) -> Read {
        let log = self.log.lock();
        let oldest = log.last - log.kept.len() as u64;
        let (lagged, from) = if number < oldest { (number > 0, oldest) } else { (false, number) };
        let skip = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        let events: Vec<_> = log.kept.iter().skip(skip).take(limit).cloned().collect();
        Read { lagged, last: from + events.len() as u64, events }
    }

    /// Something has happened, and is durable.
    pub(crate) fn publish(&self, event: &Event) {
        let mut log = self.log.lock();
        let Some(mut view) = describe(event, &mut log.owners) else { return };
        log.last += 1;
        view.cursor = EventCursor { epoch: self.epoch, number: log.last }.to_string();
        if log.kept.len() >= KEPT {
            log.kept.pop_front();
        }
        log.kept.push_back(Arc::new(Happened { view, json: OnceLock::new() }));
        let last = log.last;
        drop(log);
        self.last.send_replace(last);
    }
}

/// What is told of an event; none: it is nobody's business here.
fn describe(event: &Event, owners: &mut HashMap<TaskId, UserName>) -> Option<EventView> {
    use EventKind as Kind;
    let blank = |kind| EventView {
        cursor: String::new(),
        at: clock::wall(),
        kind,
        task_id: None,
        user: None,
        attempt: None,
        worker_id: None,
        state: None,
        verdict: None,
    };
    let of = |kind, task: TaskRef| EventView {
        task_id: Some(task.to_string()),
        user: owners.get(&task.task).cloned(),
        ..blank(kind)
    };
    let at = |kind, worker: &shared::id::WorkerId| EventView { worker_id: Some(worker.clone()), ..blank(kind) };
    Some(match event {
        Event::TaskSubmitted { task, user, .. } => {
            owners.insert(*task, user.clone());
            EventView { task_id: Some(task.to_string()), user: Some(user.clone()), ..blank(Kind::TaskSubmitted) }
        }
        Event::TaskEdited { task, .. } => of(Kind::TaskEdited, (*task).into()),
        Event::CancelRequested { task, .. } => of(Kind::CancelRequested, (*task).into()),
        Event::AttemptPlaced { task, key, worker } => {
            EventView { attempt: Some(key.attempt), worker_id: Some(worker.clone()), ..of(Kind::AttemptPlaced, *task) }
        }
        Event::AttemptStarted { task, key, worker } => {
            EventView { attempt: Some(key.attempt), worker_id: Some(worker.clone()), ..of(Kind::AttemptStarted, *task) }
        }
        Event::AttemptEnded { task, key, worker, verdict, .. } => EventView {
            attempt: Some(key.attempt),
            worker_id: Some(worker.clone()),
            verdict: Some(verdict.clone()),
            ..of(Kind::AttemptEnded, *task)
        },
        Event::ElementEnded { task, verdict } => {
            EventView { state: Some(verdict.state()), verdict: Some(verdict.clone()), ..of(Kind::ElementEnded, *task) }
        }
        Event::TaskEnded { task, state } => {
            let view = EventView { state: Some(*state), ..of(Kind::TaskEnded, (*task).into()) };
            owners.remove(task);
            view
        }
        Event::TaskDeleted { task, user } => {
            EventView { task_id: Some(task.to_string()), user: Some(user.clone()), ..blank(Kind::TaskDeleted) }
        }
        Event::WorkerRegistered { worker, .. } => at(Kind::WorkerRegistered, worker),
        Event::WorkerSuspected { worker } => at(Kind::WorkerSuspected, worker),
        Event::WorkerRecovered { worker } => at(Kind::WorkerRecovered, worker),
        Event::WorkerDisconnected { worker, .. } => at(Kind::WorkerDisconnected, worker),
        Event::WorkerLost { worker, .. } => at(Kind::WorkerLost, worker),
        Event::WorkerUnregistered { worker, .. } => at(Kind::WorkerUnregistered, worker),
        Event::FilesDeleted { .. }
        | Event::UploadDropped(_)
        | Event::WorkerAdmitted { .. }
        | Event::WorkerWaits { .. }
        | Event::AccountChanged { .. }
        | Event::TokenChanged { .. }
        | Event::LoginChanged { .. }
        | Event::LoginReused { .. }
        | Event::WorkersSilent { .. }
        | Event::MasterSlept { .. }
        | Event::WorkerCordoned { .. }
        | Event::WorkerEvicts { .. }
        | Event::WorkerLeftOut { .. }
        | Event::WorkerTriedAgain { .. }
        | Event::WorkerHealth { .. }
        | Event::WorkerGpus { .. }
        | Event::WorkerReconciled { .. }
        | Event::ReportRefused { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use shared::task::TaskState;

    use super::*;

    fn event(number: u128) -> Event {
        Event::TaskEnded { task: TaskId(number.into()), state: TaskState::Completed }
    }

    fn numbers(read: &Read) -> Vec<String> {
        read.events.iter().map(|event| event.view.cursor.clone()).collect()
    }

    #[test]
    fn a_reader_goes_on_where_it_was() {
        let events = Events::new(Epoch(7), []);
        assert_eq!(events.begin(None), (0, false));
        for number in 1..=5 {
            events.publish(&event(number));
        }
        let read = events.after(0, 3);
        assert_eq!(
            (numbers(&read), read.last, read.lagged),
            (vec!["7.1".into(), "7.2".into(), "7.3".into()], 3, false)
        );
        let (from, lagged) = events.begin(Some("7.3".parse().expect("a cursor")));
        assert_eq!((numbers(&events.after(from, 10)), lagged), (vec!["7.4".to_owned(), "7.5".to_owned()], false));
        assert_eq!(events.begin(None), (5, false), "who has no cursor gets what comes");
        assert!(events.after(5, 10).events.is_empty());
        for foreign in ["6.3", "8.1", "7.6"] {
            assert_eq!(events.begin(Some(foreign.parse().expect("a cursor"))), (0, true), "{foreign}");
        }
        assert!("7".parse::<EventCursor>().is_err() && "7.x".parse::<EventCursor>().is_err());
    }

    #[test]
    fn who_was_away_for_too_long_is_told_so() {
        let events = Events::new(Epoch(1), []);
        for number in 0..KEPT as u128 + 10 {
            events.publish(&event(number));
        }
        let read = events.after(3, 2);
        assert!(read.lagged);
        assert_eq!((numbers(&read), read.last), (vec!["1.11".to_owned(), "1.12".to_owned()], 12));
        assert!(!events.after(10, 1).lagged, "nothing is missing behind the tenth");
    }

    #[test]
    fn whose_it_is_is_known_from_the_submission_on() {
        let task = TaskId(1u128.into());
        let (ann, bob): (UserName, UserName) = ("ann".parse().expect("a name"), "bob".parse().expect("a name"));
        let events = Events::new(Epoch(1), [(TaskId(2u128.into()), bob.clone())]);
        events.publish(&Event::TaskSubmitted { task, user: ann.clone(), name: None, count: 1 });
        events.publish(&event(1));
        events.publish(&event(2));
        events.publish(&event(1));
        let owners: Vec<_> = events.after(0, 10).events.iter().map(|event| event.owner().cloned()).collect();
        assert_eq!(owners, [Some(ann.clone()), Some(ann), Some(bob), None]);
    }
}
