//! A worker as the master sees it.

use std::collections::BTreeSet;

use shared::gpu::IllGpu;
use shared::id::{Fence, SessionId};
use shared::pull::Pulling;
use shared::resources::Resources;
use shared::time::{BootTime, Now, WallTime};
use shared::worker::{Usage, WorkerProtocol, WorkerState};

use crate::failing::Failing;
use crate::record::WorkerRecord;
use crate::settings::Settings;

/// The most reports that are remembered while an earlier one is missing. Without them they are not acknowledged, and come
/// again in the next session.
const AHEAD_LIMIT: usize = 1024;

/// What it has reserved is not here: the ledger derives that from live runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Worker {
    pub(crate) record: WorkerRecord,
    pub(crate) link: Link,
    /// When it was last heard of, or when this master started.
    pub(crate) heard: BootTime,
    pub(crate) heard_at: Option<WallTime>,
    pub(crate) usage: Option<Usage>,
    /// Why it gets no new work, as it says itself.
    pub(crate) problem: Option<String>,
    /// Those of its GPUs that get no work, as it last said.
    pub(crate) ill_gpus: Vec<IllGpu>,
    /// The images that it was fetching, as it last said.
    pub(crate) pulling: Vec<Pulling>,
    /// What was reserved when it registered. It may then have told of a smaller capacity than that.
    pub(crate) reserved_at_registration: Resources,
    /// Of the present session.
    pub(crate) reported: Reported,
    /// The horizon of the inquiry of this session that was not answered yet. An answer counts once: it tells of a moment,
    /// and that is over.
    pub(crate) inquired: Option<Fence>,
    /// Whether its runs do anything but fail.
    pub(crate) failing: Failing,
    /// Too many fell silent with it: its runs are not given up before.
    pub(crate) held_until: Option<BootTime>,
}

/// The reports of a session that have been taken. An acknowledgement speaks for all reports up to its number, so it must
/// not pass over one that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reported {
    through: u64,
    ahead: BTreeSet<u64>,
}

impl Reported {
    pub(crate) fn take(&mut self, sequence: u64) {
        if sequence > self.through && self.ahead.len() < AHEAD_LIMIT {
            self.ahead.insert(sequence);
        }
        while self.ahead.first() == Some(&(self.through + 1)) {
            self.ahead.pop_first();
            self.through += 1;
        }
    }

    /// How many were taken though one before them is missing.
    pub(crate) fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// Up to where nothing is missing; none: the first one is.
    pub(crate) fn through(&self) -> Option<u64> {
        (self.through > 0).then_some(self.through)
    }
}

/// Whether it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Over this connection. `suspect`: three heartbeats are missing.
    Up { session: SessionId, suspect: bool },
    /// Not connected; its runs are believed to go on.
    Down,
    /// Not connected for so long that its runs were given up, but for those that nobody else is to have, or could.
    Lost,
}

impl Worker {
    /// One that is not connected, and whose runs, if it has any, are believed to go on.
    pub(crate) fn absent(record: WorkerRecord, now: Now) -> Self {
        Self {
            record,
            link: Link::Down,
            heard: now.boot,
            heard_at: None,
            usage: None,
            problem: None,
            ill_gpus: Vec::new(),
            pulling: Vec::new(),
            reserved_at_registration: Resources::default(),
            reported: Reported::default(),
            inquired: None,
            failing: Failing::default(),
            held_until: None,
        }
    }

    /// Why a GPU of it gets no work, if there is a reason; one that it had and has no more is one.
    pub(crate) fn gpu_problem(&self, uuid: &str) -> Option<String> {
        let gpus = &self.record.facts.gpus;
        if !gpus.is_empty() && gpus.iter().all(|gpu| gpu.uuid != uuid) {
            return Some("its worker has it no more".to_owned());
        }
        self.ill_gpus.iter().find(|ill| ill.uuid == uuid).map(|ill| ill.reason.clone())
    }

    /// Whether it ends runs by itself when their time is up.
    pub(crate) fn knows_limits(&self) -> bool {
        self.record.admission.protocol() == WorkerProtocol::Session
    }

    pub(crate) fn state(&self) -> WorkerState {
        match self.link {
            Link::Up { suspect: false, .. } => WorkerState::Active,
            Link::Up { suspect: true, .. } => WorkerState::Suspect,
            Link::Down | Link::Lost => WorkerState::Inactive,
        }
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        match self.link {
            Link::Up { session, .. } => Some(session),
            Link::Down | Link::Lost => None,
        }
    }

    /// Whether it is connected, and gets new work as far as it and its operators are concerned.
    pub(crate) fn gets_work(&self) -> bool {
        let is_left_alone = self.record.cordon.is_none() && self.problem.is_none() && !self.failing.is_left_out;
        self.session().is_some() && is_left_alone
    }

    /// When time alone changes what it is, if nothing is heard of it. `awake` is since when this master has been running
    /// without a break.
    pub(crate) fn deadline(&self, settings: &Settings, awake: BootTime) -> Option<BootTime> {
        match self.link {
            Link::Up { suspect: false, .. } => Some(self.heard + settings.suspect),
            Link::Up { suspect: true, .. } => Some(self.heard + settings.lease),
            Link::Down => {
                let patient = (self.heard + settings.reassign).max(awake + settings.start_grace);
                Some(self.held_until.map_or(patient, |held| patient.max(held)))
            }
            Link::Lost => None,
        }
    }
}
