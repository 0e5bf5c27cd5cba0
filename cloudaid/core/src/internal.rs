//! Everything that the core knows, for people who debug it. Reading changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::id::{ElementId, TaskId, WorkerId};
use shared::resources::Resources;
use shared::time::Now;
use shared::view::{
    ClassView, InternalStateView, LeaseView, LedgerRunView, LedgerView, LinkView, OpenTaskView, SchedulerView,
    SettingsView,
};

use crate::account::UserRecord;
use crate::cluster::Cluster;
use crate::invariant;
use crate::queue::Shape;
use crate::settings::Settings;
use crate::task::{RunPhase, Task};
use crate::worker::{Link, Worker};

impl Cluster {
    /// The whole state. Of the connections only what the core knows; the shell adds what they have sent.
    #[must_use]
    pub fn internal_state(&self, now: Now) -> InternalStateView {
        InternalStateView {
            cluster_id: self.identity.cluster.to_string(),
            epoch: self.identity.epoch.0,
            started_at: self.started.wall,
            last_sequence: self.last_sequence,
            last_fence: self.last_fence,
            draining: self.draining,
            scheduler: SchedulerView {
                policy: self.scheduler.name().to_owned(),
                memory: format!("{:?}", self.scheduler),
                unfinished: self.plan_unfinished,
            },
            settings: settings(&self.settings),
            totals: self.totals,
            users: self.users.values().map(UserRecord::view).collect(),
            idempotency_keys: self.keys.len() as u64,
            queue: self.queue.classes().map(|(shape, tasks)| self.class(shape, tasks)).collect(),
            ledger: self.workers.iter().map(|(id, worker)| self.ledger_of(id, worker)).collect(),
            leases: self.workers.iter().map(|(id, worker)| self.lease_of(id, worker, now)).collect(),
            links: self.workers.iter().filter_map(|(id, worker)| link(id, worker)).collect(),
            tasks: self.tasks.values().map(open_task).collect(),
            violations: invariant::check(self).err().into_iter().collect(),
        }
    }

    fn class(&self, shape: &Shape, tasks: &BTreeMap<u64, TaskId>) -> ClassView {
        let open = || tasks.values().filter_map(|id| self.tasks.get(id));
        ClassView {
            resources: shape.resources,
            worker_id: shape.worker.clone(),
            worker_labels: shape.worker_labels.clone(),
            user: shape.user.clone(),
            tasks: tasks.len() as u64,
            waiting: open().map(|task| u64::from(task.waiting_in(shape))).sum(),
            placeable: open().map(|task| u64::from(task.placeable_in(shape))).sum(),
            first_sequence: tasks.keys().next().copied().unwrap_or(0),
        }
    }

    fn ledger_of(&self, id: &WorkerId, worker: &Worker) -> LedgerView {
        let run = |(element, resources): (&ElementId, &Resources)| {
            let task = self.tasks.get(&element.task)?;
            let run = task.live.get(&element.index)?;
            let started_at = match run.phase {
                RunPhase::Pending => None,
                RunPhase::Running { started_at } => Some(started_at),
            };
            Some(LedgerRunView {
                element_id: element.to_string(),
                attempt: run.attempt,
                fence: run.fence.0,
                state: run.phase.state(),
                resources: *resources,
                placed_at: run.placed_at,
                started_at,
                infrastructure_failures: run.infrastructure_failures,
                cancelling: task.progress.cancelling.contains(element.index),
            })
        };
        LedgerView {
            worker_id: id.clone(),
            capacity: worker.record.facts.capacity,
            reserved: self.ledger.reserved(id),
            reserved_at_registration: worker.reserved_at_registration,
            runs: self.ledger.runs(id).filter_map(run).collect(),
        }
    }

    fn lease_of(&self, id: &WorkerId, worker: &Worker, now: Now) -> LeaseView {
        let link = match worker.link {
            Link::Up { suspect: false, .. } => "up",
            Link::Up { suspect: true, .. } => "suspect",
            Link::Down => "down",
            Link::Lost => "lost",
        };
        let deadline = worker.deadline(&self.settings, self.awake);
        LeaseView {
            worker_id: id.clone(),
            link: link.to_owned(),
            session: worker.session().map(|session| session.0),
            heard_ms_ago: millis(now.boot.since(worker.heard)),
            expires_in_ms: deadline.map(|deadline| millis(deadline.since(now.boot))),
        }
    }
}

fn link(id: &WorkerId, worker: &Worker) -> Option<LinkView> {
    let session = worker.session()?;
    Some(LinkView {
        session: session.0,
        worker_id: Some(id.clone()),
        sent: 0,
        waiting: 0,
        reports_through: worker.reported.through().unwrap_or(0),
        reports_ahead: worker.reported.ahead() as u64,
    })
}

fn open_task(task: &Task) -> OpenTaskView {
    let progress = &task.progress;
    OpenTaskView {
        task_id: task.record.id.to_string(),
        sequence: task.record.sequence,
        user: task.record.user.clone(),
        state: task.tally().summary(),
        count: task.record.count(),
        limit: task.limit(),
        untouched: progress.untouched.to_string(),
        requeued: progress.requeued.iter().map(|requeued| requeued.index).collect(),
        live: task.live.keys().copied().collect(),
        cancelling: progress.cancelling.to_string(),
        ended: progress.ended.iter().map(|(kind, ended)| (*kind, ended.to_string())).collect(),
    }
}

fn settings(settings: &Settings) -> SettingsView {
    SettingsView {
        heartbeat_ms: millis(settings.heartbeat),
        suspect_ms: millis(settings.suspect),
        lease_ms: millis(settings.lease),
        reassign_ms: millis(settings.reassign),
        start_grace_ms: millis(settings.start_grace),
        mass_loss_hold_ms: millis(settings.mass_loss_hold),
        stop_grace_ms: millis(settings.stop_grace),
        infrastructure_attempts: settings.infrastructure_attempts,
        placements_per_pass: settings.placements_per_pass as u64,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
