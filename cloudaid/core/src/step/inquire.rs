//! An operator wants the books compared with what is there.

use shared::id::{AttemptKey, Fence, RequestId, SessionId, WorkerId};
use shared::link::{Assignment, Decision, Inventory, ToWorker};
use shared::task::Verdict;
use shared::time::Now;

use super::connect::{decide, live_runs};
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect, Inquired};
use crate::event::{Event, Findings};
use crate::task::RunPhase;

/// Asks every connected worker.
pub(crate) fn on_fix_resources(cluster: &mut Cluster, request: RequestId, effects: &mut Vec<Effect>) {
    let horizon = Fence::new(cluster.identity.epoch, cluster.last_fence);
    let (mut asked, mut absent) = (Vec::new(), Vec::new());
    for (id, worker) in &mut cluster.workers {
        match worker.session() {
            Some(session) => {
                worker.inquired = Some(horizon);
                effects.push(Effect::Send(session, ToWorker::Inquire { horizon }));
                asked.push(id.clone());
            }
            None => absent.push(id.clone()),
        }
    }
    effects.push(Effect::Reply(request, Ok(Answer::Inquired(Inquired { horizon, asked, absent }))));
}

/// Settles every difference, as at a new connection. Runs beyond the horizon may still have been on their way when the
/// worker looked, so nothing is concluded from their absence.
pub(crate) fn on_inventoried(
    cluster: &mut Cluster,
    now: Now,
    worker: &WorkerId,
    session: SessionId,
    inventory: &Inventory,
    effects: &mut Vec<Effect>,
) {
    let Some(known) = cluster.workers.get_mut(worker).filter(|known| known.session() == Some(session)) else { return };
    if known.inquired.take_if(|horizon| *horizon == inventory.horizon).is_none() {
        return;
    }
    let decisions: Vec<_> = inventory.held.iter().map(|held| (held.key, decide(cluster, worker, held))).collect();
    let is_held = |key: &AttemptKey| inventory.held.iter().any(|held| held.key == *key);
    let absent: Vec<_> =
        live_runs(cluster, worker).filter(|(key, _)| key.fence <= inventory.horizon && !is_held(key)).collect();
    let keys = |phase: fn(&RunPhase) -> bool| {
        absent.iter().filter(|(_, of)| phase(of)).map(|(key, _)| *key).collect::<Vec<AttemptKey>>()
    };
    let vanished = keys(|phase| matches!(phase, RunPhase::Running { .. }));
    let sent_again = keys(|phase| matches!(phase, RunPhase::Pending));
    let of = |wanted: fn(Decision) -> bool| {
        decisions.iter().filter(move |(_, decision)| wanted(*decision)).map(|(key, _)| *key)
    };
    let findings = Findings {
        live: cluster.ledger.runs(worker).count(),
        containers: inventory.containers,
        orphans: of(|decision| decision == Decision::Stop).collect(),
        adopted: of(|decision| decision == Decision::Keep).filter(|key| inventory.adopted.contains(key)).collect(),
        lost: inventory.lost.iter().copied().chain(vanished.iter().copied()).collect(),
        sent_again: sent_again.clone(),
        leaving: inventory.leaving.clone(),
        problem: inventory.problem.clone(),
    };
    let orders: Vec<(AttemptKey, Decision)> = decisions
        .into_iter()
        // What is to be forgotten has ended, and waits for an acknowledgement that is on its way.
        .filter(|(key, decision)| *decision == Decision::Stop || inventory.adopted.contains(key))
        .collect();
    if !orders.is_empty() {
        effects.push(Effect::Send(session, ToWorker::Decide(orders)));
    }
    let again: Vec<Assignment> = sent_again.iter().filter_map(|key| cluster.assign_again(*key, effects)).collect();
    if !again.is_empty() {
        effects.push(Effect::Send(session, ToWorker::Assign(again)));
    }
    let unwanted = |key: &AttemptKey| {
        let task = cluster.tasks.get(&key.task).filter(|task| task.progress.cancelling.contains(key.index))?;
        Some(task.stop_order(key.index, task.live.get(&key.index)?, &cluster.settings))
    };
    let cancel: Vec<_> = sent_again.iter().filter_map(unwanted).collect();
    if !cancel.is_empty() {
        effects.push(Effect::Send(session, ToWorker::Cancel(cancel)));
    }
    for key in vanished {
        let message = "the worker no longer has its container".to_owned();
        cluster.end_run(now, key, Verdict::WorkerLost { message }, None, effects);
    }
    effects.push(Effect::Publish(Event::WorkerReconciled {
        worker: worker.clone(),
        horizon: inventory.horizon,
        findings,
    }));
}
