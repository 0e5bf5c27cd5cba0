//! Remembers the logs in use, and forgets those that were not used for longest.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use shared::id::{ElementId, TaskId};

use super::log::Log;

/// Logs remembered. More only while more are in use at once.
const CAPACITY: usize = 1_000;
/// How many are forgotten at once, so that it is not done for every new one.
const SLACK: usize = 100;

/// Names a log.
type LogId = (ElementId, u32);

/// The logs in memory. Of each there is only one at a time.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    logs: HashMap<LogId, Entry>,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    log: Arc<Log>,
    used: u64,
}

impl Cache {
    /// The log, if it is remembered.
    pub(super) fn find(&self, id: LogId) -> Option<Arc<Log>> {
        self.entries.lock().logs.get(&id).map(|entry| entry.log.clone())
    }

    /// The log; `make` makes it if it is not remembered.
    pub(super) fn get(&self, id: LogId, make: impl FnOnce() -> Log) -> Arc<Log> {
        let mut entries = self.entries.lock();
        entries.clock += 1;
        let used = entries.clock;
        if let Some(entry) = entries.logs.get_mut(&id) {
            entry.used = used;
            return entry.log.clone();
        }
        if entries.logs.len() >= CAPACITY + SLACK {
            entries.forget_oldest();
        }
        let log = Arc::new(make());
        entries.logs.insert(id, Entry { log: log.clone(), used });
        log
    }

    /// Forgets all logs of a task.
    pub(super) fn forget(&self, task: TaskId) {
        self.entries.lock().logs.retain(|(element, _), _| element.task != task);
    }
}

impl Entries {
    fn forget_oldest(&mut self) {
        // Whoever holds one would go on with it beside a second one for the same file.
        let free = |entry: &Entry| Arc::strong_count(&entry.log) == 1 && entry.log.may_be_forgotten();
        let mut ages: Vec<_> =
            self.logs.iter().filter(|(_, entry)| free(entry)).map(|(id, entry)| (entry.used, *id)).collect();
        ages.sort_unstable();
        let surplus = self.logs.len().saturating_sub(CAPACITY);
        for (_, id) in ages.into_iter().take(surplus) {
            self.logs.remove(&id);
        }
    }
}
