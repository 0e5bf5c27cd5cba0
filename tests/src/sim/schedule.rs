//! What will happen, in the order of virtual time. Of two events of one moment the one that was planned first comes first.

use std::collections::BTreeMap;

use cloudaid_core::agent::AgentInput;
use shared::id::{AttemptKey, RequestId, TaskRef};
use shared::link::{FromWorker, ToWorker};

/// Events by time in milliseconds and the order of planning.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    pub(crate) now: u64,
    planned: u64,
    events: BTreeMap<(u64, u64), Event>,
}

/// Something that happens. `life` numbers the lives of a process: what was planned for an earlier one is void.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    MasterStart,
    MasterWork {
        life: u32,
    },
    MasterWake {
        life: u32,
        timer: u32,
    },
    WorkerStart {
        worker: usize,
    },
    WorkerWake {
        worker: usize,
        life: u32,
        timer: u32,
    },
    Dial {
        worker: usize,
        life: u32,
    },
    DialTimeout {
        link: usize,
    },
    Heartbeat {
        link: usize,
    },
    /// The engine does what it was asked to.
    Deed {
        worker: usize,
        life: u32,
        order: u64,
    },
    /// The worker hears of it.
    Answer {
        worker: usize,
        life: u32,
        input: AgentInput,
    },
    ContainerEnds {
        worker: usize,
        key: AttemptKey,
        cause: Cause,
    },
    Upload {
        worker: usize,
        life: u32,
        key: AttemptKey,
    },
    ToMaster {
        link: usize,
        message: FromWorker,
    },
    ToWorker {
        link: usize,
        message: ToWorker,
    },
    /// One side learns that the connection is gone.
    MasterLosesLink {
        link: usize,
    },
    WorkerLosesLink {
        link: usize,
    },
    Submit {
        index: usize,
    },
    /// Somebody cancels this, or anything.
    Cancel {
        target: Option<TaskRef>,
    },
    /// An operator wants the books compared with what is there.
    Inquire,
    ClientGivesUp {
        request: RequestId,
    },
    Fault(Fault),
    /// From now on nothing goes wrong any more.
    Heal,
    /// Is everything over?
    Look,
}

/// What goes wrong at some time, as opposed to at some step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    MasterCrash,
    WorkerCrash,
    JournalLoss,
    Reboot,
    Pause,
    Leave,
    Cut,
    Vanish,
}

/// What ends a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Script,
    /// The agent sent this signal.
    Stopped(i32),
    /// The host went down, or somebody removed it.
    Killed,
}

impl Fault {
    pub(crate) const ALL: [Self; 8] = [
        Self::MasterCrash,
        Self::WorkerCrash,
        Self::JournalLoss,
        Self::Reboot,
        Self::Pause,
        Self::Leave,
        Self::Cut,
        Self::Vanish,
    ];
}

impl Schedule {
    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.planned += 1;
        self.events.insert((time.max(self.now), self.planned), event);
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// The next event; the clock moves to it.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let ((time, _), event) = self.events.pop_first()?;
        self.now = time;
        Some(event)
    }
}
