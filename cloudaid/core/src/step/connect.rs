//! A worker connects, or its connection ends.

use std::sync::Arc;

use shared::gpu::GpuLease;
use shared::id::{AttemptKey, SessionId, WorkerId};
use shared::link::{Assignment, CancelOrder, Decision, Held, Hello, Phase, ToWorker, Welcome, is_served};
use shared::task::Verdict;
use shared::time::Now;
use shared::version::{Skew, Version};
use shared::worker::WorkerFacts;

use crate::admission::{Admission, Identity, POOL, Proof};
use crate::alarm::Alarm;
use crate::cluster::Cluster;
use crate::effect::Effect;
use crate::event::Event;
use crate::record::{Change, WorkerRecord};
use crate::reject::Reject;
use crate::scheduler::Obstacle;
use crate::step::{keep, silence};
use crate::task::RunPhase;
use crate::worker::{Link, Reported, Worker};

/// The worker's inventory and the live runs are compared, and each difference is settled: what it holds and should not
/// is stopped or forgotten, what it should hold and never got is sent again, what it held and has no more is lost.
pub(crate) fn on_connected(
    cluster: &mut Cluster,
    now: Now,
    (session, proof): (SessionId, Proof),
    hello: Hello,
    effects: &mut Vec<Effect>,
) {
    let known = match admitted(cluster, proof, &hello) {
        Ok(known) => known,
        Err(reject) => {
            effects.push(Effect::Close(session, reject));
            return;
        }
    };
    let id = hello.worker;
    if let Some(older) = known.session() {
        effects.push(Effect::Close(older, Reject::Replaced(id.clone())));
    }
    let rebooted = is_other_boot(&known.record.facts.boot_id, &hello.facts.boot_id);
    let record = record_of(known, now, hello.facts);
    effects.push(Effect::Save(Change::Worker(id.clone(), Some(record.clone()))));
    let decisions: Vec<_> = hello.inventory.iter().map(|held| (held.key, decide(cluster, &id, held))).collect();
    let lost = missing(cluster, &id, &hello.inventory);
    effects.push(Effect::Publish(Event::WorkerRegistered {
        worker: id.clone(),
        facts: record.facts.clone(),
        rebooted,
        kept: decisions.iter().filter(|(_, decision)| *decision == Decision::Keep).count(),
        stopped: decisions.iter().filter(|(_, decision)| *decision == Decision::Stop).count(),
    }));
    let worker = Worker {
        record,
        link: Link::Up { session, suspect: false },
        heard: now.boot,
        heard_at: Some(now.wall),
        usage: None,
        problem: hello.problem,
        ill_gpus: hello.ill_gpus.clone(),
        pulling: Vec::new(),
        reserved_at_registration: cluster.ledger.reserved(&id),
        reported: Reported::default(),
        inquired: None,
        failing: known.failing.clone(),
        held_until: None,
    };
    cluster.workers.insert(id.clone(), worker);
    reach(cluster, &id);
    let cannot_begin = cannot_begin(cluster, &id, &hello.inventory);
    if !hello.ill_gpus.is_empty() {
        effects.push(Effect::Publish(Event::WorkerGpus { worker: id.clone(), ill: hello.ill_gpus, well: Vec::new() }));
    }
    silence::end_hold(cluster);
    cluster.plan_stale = true;
    for key in lost {
        let host = "the worker's host was restarted, and it no longer has its container";
        let message = if rebooted { host } else { "the worker no longer has its container" }.to_owned();
        cluster.end_run(now, key, Verdict::WorkerLost { message }, None, effects);
    }
    for (key, message) in cannot_begin {
        cluster.end_run(now, key, Verdict::Rejected { message }, None, effects);
    }
    effects.push(Effect::Send(
        session,
        ToWorker::Welcome(Welcome {
            cluster: cluster.identity.cluster,
            epoch: cluster.identity.epoch,
            heartbeat: cluster.settings.heartbeat,
            lease: cluster.settings.lease,
            decisions,
        }),
    ));
    send_again(cluster, &id, session, &hello.inventory, effects);
    keep::look_for_host(cluster, now.boot, &id);
}

/// The worker as it is known that says hello, if it is one that is served, and has proved which one it is.
fn admitted<'a>(cluster: &'a Cluster, proof: Proof, hello: &Hello) -> Result<&'a Worker, Reject> {
    if !is_served(hello.protocol) {
        return Err(Reject::Protocol { theirs: hello.protocol });
    }
    let version = &hello.facts.version;
    if let Some(skew) = skew_of(version) {
        return Err(Reject::Version { theirs: version.clone(), skew });
    }
    let known = cluster.workers.get(&hello.worker).filter(|known| known.record.admission.is_proved_by(proof));
    known.ok_or_else(|| Reject::NotAdmitted(hello.worker.clone()))
}

/// What is kept of a worker that says this of itself.
fn record_of(known: &Worker, now: Now, facts: WorkerFacts) -> WorkerRecord {
    let mut record = WorkerRecord { facts, seen_at: now.wall, ..known.record.clone() };
    // Which pool it is in is not its own choice.
    if let Admission::Certificate(Identity { pool: Some(pool), .. }) = &record.admission {
        Arc::make_mut(&mut record.facts.labels).insert(POOL.to_owned(), pool.to_string());
    }
    record
}

/// Its runs are heard of again.
fn reach(cluster: &mut Cluster, id: &WorkerId) {
    for (key, _) in live_runs(cluster, id).collect::<Vec<_>>() {
        let task = cluster.tasks.get_mut(&key.task);
        if let Some(task) = task.filter(|task| task.progress.unreachable.contains(key.index)) {
            task.progress.unreachable.remove(key.index);
            cluster.dirty.insert(key.task);
            if let Some(run) = task.live.get(&key.index) {
                cluster.kept.remove(&task.shape_with(run.memory), key.element());
                cluster.alarms.clear(&Alarm::WaitedAgain(key.element()));
            }
        }
    }
}

/// A connection has ended. Its runs are believed to go on until the worker's time is up.
pub(crate) fn on_disconnected(cluster: &mut Cluster, id: &WorkerId, session: SessionId, effects: &mut Vec<Effect>) {
    let live_attempts = cluster.ledger.runs(id).count();
    let Some(worker) = cluster.workers.get_mut(id).filter(|worker| worker.session() == Some(session)) else { return };
    worker.link = Link::Down;
    effects.push(Effect::Publish(Event::WorkerDisconnected { worker: id.clone(), live_attempts }));
}

/// How a worker's version stands to ours, if it is not served. One that is no version says nothing: workers of the first
/// generation have none. Whoever writes a worker says of which version of this protocol's product it is the like.
fn skew_of(version: &str) -> Option<Skew> {
    version.parse::<Version>().ok()?.worker_skew(Version::OWN)
}

/// Whether a host was started anew since it was last heard of; one that has never said anything was not.
fn is_other_boot(before: &str, now: &str) -> bool {
    !before.is_empty() && !now.is_empty() && before != now
}

pub(super) fn decide(cluster: &Cluster, worker: &WorkerId, held: &Held) -> Decision {
    let run = cluster.tasks.get(&held.key.task).and_then(|task| task.live.get(&held.key.index));
    let current =
        run.is_some_and(|run| run.worker == *worker && run.attempt == held.key.attempt && run.fence == held.key.fence);
    let is_foreign = cluster.settings.keep_unknown && !cluster.tasks.contains_key(&held.key.task);
    match (current || is_foreign, held.phase) {
        (true, _) => Decision::Keep,
        (false, Phase::Finished) => Decision::Forget,
        (false, Phase::Accepted | Phase::Running) => Decision::Stop,
    }
}

/// Runs whose container was started on this worker and that it does not hold any more.
fn missing(cluster: &Cluster, worker: &WorkerId, inventory: &[Held]) -> Vec<AttemptKey> {
    live_runs(cluster, worker)
        .filter(|(key, phase)| {
            let held = inventory.iter().any(|held| held.key == *key);
            matches!(phase, RunPhase::Running { .. }) && !held
        })
        .map(|(key, _)| key)
        .collect()
}

/// Runs that never arrived, and need what the worker has no more or never get there any more, each with what that is.
fn cannot_begin(cluster: &Cluster, id: &WorkerId, inventory: &[Held]) -> Vec<(AttemptKey, String)> {
    let Some(worker) = cluster.workers.get(id) else { return Vec::new() };
    let is_there = |lease: &GpuLease| worker.record.facts.gpus.iter().any(|gpu| gpu.uuid == lease.uuid);
    let never_arrived =
        live_runs(cluster, id).map(|(key, _)| key).filter(|key| inventory.iter().all(|held| held.key != *key));
    let lacking = never_arrived.filter_map(|key| {
        let task = cluster.tasks.get(&key.task)?;
        let run = task.live.get(&key.index).filter(|run| run.phase == RunPhase::Pending)?;
        if !run.gpus.iter().all(is_there) {
            return Some((key, "the worker no longer has the GPU that it was to have".to_owned()));
        }
        let obstacle = task.shape_with(run.memory).kept_off(id, worker, &cluster.settings)?;
        Some((key, in_words(obstacle)))
    });
    lacking.collect()
}

/// Why a run that was to begin on a worker never will.
fn in_words(obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::OtherLabels => "the worker no longer has the labels that the task asks for".to_owned(),
        Obstacle::Outdated(features) => format!("the worker is of an older version, which does not know {features}"),
        Obstacle::FirstGeneration => {
            "the worker is of the first generation, which cannot be told all of the task".to_owned()
        }
        Obstacle::Offline => {
            "the worker's pool gives tasks no network any more, and the task asks for the Internet".to_owned()
        }
        Obstacle::TooSmall(shortage) => {
            let amount = |amount| shortage.kind.describe(amount);
            format!("the worker now has at most {} of {} in all", amount(shortage.available), amount(shortage.wanted))
        }
        Obstacle::OtherWorkerRequested => "the task is for another worker".to_owned(),
        // These pass, and are not asked for.
        Obstacle::NotActive(_)
        | Obstacle::Unhealthy
        | Obstacle::Failing
        | Obstacle::Cordoned
        | Obstacle::Busy(_)
        | Obstacle::IllGpus => "the worker gets no work now".to_owned(),
    }
}

/// Assignments that never arrived, and wishes to cancel, which are repeated at every connection.
fn send_again(
    cluster: &mut Cluster,
    worker: &WorkerId,
    session: SessionId,
    inventory: &[Held],
    effects: &mut Vec<Effect>,
) {
    let mut assign: Vec<Assignment> = Vec::new();
    let mut cancel: Vec<CancelOrder> = Vec::new();
    for (key, _) in live_runs(cluster, worker).collect::<Vec<_>>() {
        if !inventory.iter().any(|held| held.key == key) {
            assign.extend(cluster.assign_again(key, effects));
        }
        let Some(task) = cluster.tasks.get(&key.task) else { continue };
        if task.progress.cancelling.contains(key.index) || task.progress.evicting.contains(key.index) {
            cancel.extend(task.live.get(&key.index).map(|run| task.stop_order(key.index, run, &cluster.settings)));
        }
    }
    if !assign.is_empty() {
        effects.push(Effect::Send(session, ToWorker::Assign(assign)));
    }
    if !cancel.is_empty() {
        effects.push(Effect::Send(session, ToWorker::Cancel(cancel)));
    }
}

pub(super) fn live_runs<'a>(
    cluster: &'a Cluster,
    worker: &WorkerId,
) -> impl Iterator<Item = (AttemptKey, RunPhase)> + 'a {
    cluster.ledger.runs(worker).map(|(element, _)| *element).collect::<Vec<_>>().into_iter().filter_map(|element| {
        let task = cluster.tasks.get(&element.task)?;
        let run = task.live.get(&element.index)?;
        Some((task.key(element.index, run), run.phase))
    })
}
