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
    /// What is said in it is numbered from 1.
    Up {
        /// Number of the last report that was said.
        last: u64,
        /// Ends that were said and not acknowledged, by the number of the report.
        finished: BTreeMap<u64, AttemptKey>,
    },
}

impl Session {
    pub(super) fn up() -> Self {
        Self::Up { last: 0, finished: BTreeMap::new() }
    }

    /// Gives the next number to a report that is said now.
    pub(super) fn say(&mut self, report: Report) -> Option<Report> {
        let Self::Up { last, finished } = self else { return None };
        *last += 1;
        match &report.change {
            AttemptChange::Finished(_) => drop(finished.insert(*last, report.key)),
            AttemptChange::Preparing | AttemptChange::Started { .. } => {}
        }
        Some(Report { sequence: *last, ..report })
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
        if matches!(self.session, Session::Up { .. }) {
            self.effects.push(AgentEffect::Report(Report { sequence: 0, key, change }));
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
