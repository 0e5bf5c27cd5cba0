//! What a worker must not forget when it dies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::id::AttemptKey;
use shared::link::{Assignment, ContainerUsage, Outcome};
use shared::task::{StoredPart, Verdict};
use shared::time::{BootTime, WallTime};

/// One durable fact about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalRecord {
    /// The run was given to this worker.
    Accepted(Arc<Assignment>),
    /// A container was found that no journal speaks of.
    Adopted(AttemptKey),
    /// The container is about to be started: from now on it is never made again.
    Starting {
        /// Which.
        key: AttemptKey,
        /// When.
        at: WallTime,
        /// The same by the clock of its host, which nobody sets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot: Option<BootTime>,
        /// Whether that was long ago, and somebody has started it again past its worker since.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// The container is about to be stopped.
    Stopping {
        /// Which.
        key: AttemptKey,
        /// How.
        order: StopOrder,
    },
    /// The container has ended: how, so that it is still known when the container is not there any more.
    Exited {
        /// Which.
        key: AttemptKey,
        /// How.
        exited: Exited,
    },
    /// It is over; this is what the master is told, however often it takes.
    Finished {
        /// Which.
        key: AttemptKey,
        /// How it ended.
        outcome: Outcome,
    },
    /// Nothing is left of it.
    Forgotten(AttemptKey),
}

/// How to stop a run, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOrder {
    /// Between TERM and KILL.
    pub grace: Duration,
    /// Why.
    #[serde(default)]
    pub reason: StopReason,
}

/// Why a run is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// A person wants it.
    #[default]
    Person,
    /// It has run longer than this.
    TimeLimit(Duration),
    /// It may run once at most, and the worker has lost touch with the master for longer than its lease.
    Lease,
    /// The worker is being stopped, and gives it back for another one.
    HandedBack,
    /// It stores more than it may.
    Storage {
        /// What it may, in bytes.
        limit_bytes: u64,
        /// What it did, in bytes; none: its /output is a file system of its own, and was full.
        used_bytes: Option<u64>,
        /// What takes the most of it, the largest first, as far as that is known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        largest: Vec<StoredPart>,
    },
    /// It may run once at most, and somebody has started its container again.
    StartedAgain {
        /// How it had ended before that.
        first: Verdict,
    },
}

/// How a container has ended, before its log and its outputs are at the master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// As the master will be told, but for who sent a signal where that may have been an earlier life of the worker.
    pub verdict: Verdict,
    /// By the engine's clock, or when it was ordered to start.
    pub started_at: Option<WallTime>,
    /// By the engine's clock, or when it was heard of.
    pub finished_at: WallTime,
    /// What it has used, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ContainerUsage>,
    /// What else there is to say of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// When the start of a container was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Starting {
    /// By the wall clock.
    pub at: WallTime,
    /// By the clock of its host, which begins anew with each boot; none where the journal does not say.
    pub boot: Option<BootTime>,
}

/// What the records of one run add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Which run.
    pub key: AttemptKey,
    /// Unknown where the container was adopted.
    pub assignment: Option<Arc<Assignment>>,
    /// When its start was ordered, if it was.
    pub starting: Option<Starting>,
    /// Whether somebody was seen to have started it again past its worker.
    pub was_started_again: bool,
    /// Whether it was ordered to end.
    pub stop: Option<StopOrder>,
    /// How its container ended.
    pub exited: Option<Exited>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

impl JournalEntry {
    /// Of a run of which nothing is known yet.
    pub(super) fn new(key: AttemptKey) -> Self {
        Self {
            key,
            assignment: None,
            starting: None,
            was_started_again: false,
            stop: None,
            exited: None,
            outcome: None,
        }
    }

    /// The fewest records that add up to this entry.
    #[must_use]
    pub fn to_records(&self) -> Vec<JournalRecord> {
        let key = self.key;
        let first = match &self.assignment {
            Some(assignment) => JournalRecord::Accepted(Arc::clone(assignment)),
            None => JournalRecord::Adopted(key),
        };
        let again = self.was_started_again;
        let starting = self.starting.map(|Starting { at, boot }| JournalRecord::Starting { key, at, boot, again });
        let stopping = self.stop.clone().map(|order| JournalRecord::Stopping { key, order });
        let exited = self.exited.clone().map(|exited| JournalRecord::Exited { key, exited });
        let finished = self.outcome.clone().map(|outcome| JournalRecord::Finished { key, outcome });
        [Some(first), starting, stopping, exited, finished].into_iter().flatten().collect()
    }
}

impl JournalRecord {
    /// The run that it speaks of.
    #[must_use]
    pub fn key(&self) -> AttemptKey {
        match self {
            Self::Accepted(assignment) => assignment.key,
            Self::Adopted(key)
            | Self::Starting { key, .. }
            | Self::Stopping { key, .. }
            | Self::Exited { key, .. }
            | Self::Finished { key, .. }
            | Self::Forgotten(key) => *key,
        }
    }

    /// Adds it to what is known. Taking one twice is the same as once.
    pub fn apply(&self, entries: &mut BTreeMap<AttemptKey, JournalEntry>) {
        let key = self.key();
        if matches!(self, Self::Forgotten(_)) {
            entries.remove(&key);
            return;
        }
        let entry = entries.entry(key).or_insert_with(|| JournalEntry::new(key));
        match self {
            Self::Accepted(assignment) => entry.assignment = Some(Arc::clone(assignment)),
            Self::Starting { at, boot, again, .. } => {
                entry.starting = Some(Starting { at: *at, boot: *boot });
                entry.was_started_again = *again;
            }
            Self::Stopping { order, .. } => entry.stop = Some(order.clone()),
            Self::Exited { exited, .. } => entry.exited = Some(exited.clone()),
            Self::Finished { outcome, .. } => entry.outcome = Some(outcome.clone()),
            Self::Adopted(_) | Self::Forgotten(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{assignment, key};
    use super::*;

    #[test]
    fn an_entry_is_the_sum_of_its_records_and_back() {
        let key = key(1);
        let records = [
            JournalRecord::Accepted(Arc::new(assignment(1))),
            JournalRecord::Starting { key, at: WallTime(5), boot: Some(BootTime(6)), again: true },
            JournalRecord::Stopping {
                key,
                order: StopOrder { grace: Duration::from_secs(1), reason: StopReason::Lease },
            },
            JournalRecord::Exited {
                key,
                exited: Exited {
                    verdict: Verdict::Success,
                    started_at: None,
                    finished_at: WallTime(6),
                    usage: None,
                    notes: vec!["a note".to_owned()],
                },
            },
        ];
        let mut entries = BTreeMap::new();
        records.iter().for_each(|record| record.apply(&mut entries));
        assert_eq!(entries[&key].to_records(), records);
        JournalRecord::Forgotten(key).apply(&mut entries);
        assert!(entries.is_empty());
    }

    #[test]
    fn a_stop_without_what_took_the_most_is_read_and_written_as_it_always_was() {
        let old = r#"{"storage":{"limit_bytes":7,"used_bytes":8}}"#;
        let reason = StopReason::Storage { limit_bytes: 7, used_bytes: Some(8), largest: Vec::new() };
        assert_eq!(serde_json::from_str::<StopReason>(old).expect("a reason"), reason);
        assert_eq!(serde_json::to_string(&reason).expect("json"), old);
    }

    #[test]
    fn a_first_start_is_read_and_written_as_it_always_was() {
        let key = key(1);
        let starting = JournalRecord::Starting { key, at: WallTime(5), boot: Some(BootTime(6)), again: false };
        let text = serde_json::to_string(&starting).expect("json");
        assert!(!text.contains("again"), "{text}");
        assert_eq!(serde_json::from_str::<JournalRecord>(&text).expect("a start"), starting);
    }

    #[test]
    fn an_end_without_notes_is_read_and_written_as_it_always_was() {
        let exited = Exited {
            verdict: Verdict::Success,
            started_at: None,
            finished_at: WallTime(6),
            usage: None,
            notes: Vec::new(),
        };
        let text = serde_json::to_string(&exited).expect("json");
        assert!(!text.contains("notes"), "{text}");
        assert_eq!(serde_json::from_str::<Exited>(&text).expect("an end"), exited);
    }
}
