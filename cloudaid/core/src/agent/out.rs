//! Where handlers put what follows.

use std::collections::BTreeMap;

use shared::id::AttemptKey;
use shared::link::{AttemptChange, Report};
use shared::time::Now;

use super::effect::AgentEffect;
use super::journal::JournalRecord;

/// The connection to the master.
#[derive(Debug, Default)]
pub(super) enum Session {
    /// There is none.
    #[default]
    Down,
    /// Reports are numbered from 1 in each.
    Up {
        /// Number of the last report.
        last: u64,
        /// Ends that were reported and not acknowledged, by the number of the report.
        finished: BTreeMap<u64, AttemptKey>,
    },
}

impl Session {
    pub(super) fn up() -> Self {
        Self::Up { last: 0, finished: BTreeMap::new() }
    }
}

/// The time, the session and the effects of one step.
#[derive(Debug)]
pub(super) struct Out<'a> {
    pub(super) now: Now,
    session: &'a mut Session,
    effects: &'a mut Vec<AgentEffect>,
}

impl<'a> Out<'a> {
    pub(super) fn new(now: Now, session: &'a mut Session, effects: &'a mut Vec<AgentEffect>) -> Self {
        Self { now, session, effects }
    }

    pub(super) fn emit(&mut self, effect: AgentEffect) {
        self.effects.push(effect);
    }

    pub(super) fn journal(&mut self, record: JournalRecord) {
        self.effects.push(AgentEffect::Journal(record));
    }

    /// Without a session nothing is said: the next one begins with everything.
    pub(super) fn report(&mut self, key: AttemptKey, change: AttemptChange) {
        match &mut *self.session {
            Session::Down => {}
            Session::Up { last, finished } => {
                *last += 1;
                match &change {
                    AttemptChange::Finished(_) => drop(finished.insert(*last, key)),
                    AttemptChange::Preparing | AttemptChange::Started { .. } => {}
                }
                self.effects.push(AgentEffect::Report(Report { sequence: *last, key, change }));
            }
        }
    }

    /// Takes the ends that are acknowledged with this.
    pub(super) fn acknowledged(&mut self, through: u64) -> Vec<AttemptKey> {
        match &mut *self.session {
            Session::Down => Vec::new(),
            Session::Up { finished, .. } => {
                let open = through.checked_add(1).map(|next| finished.split_off(&next)).unwrap_or_default();
                std::mem::replace(finished, open).into_values().collect()
            }
        }
    }
}
