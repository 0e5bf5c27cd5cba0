//! An admin takes a worker out of the cluster: what it proves itself with is worth nothing from then on.

use shared::id::{RequestId, WorkerId};
use shared::link::{Decision, ToWorker};
use shared::task::Verdict;
use shared::time::Now;

use super::admit::stop_waiting;
use super::connect::live_runs;
use crate::alarm::Alarm;
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::record::Change;
use crate::reject::Reject;

/// Its runs go on elsewhere; it is told to stop them, if it is there to hear it.
pub(crate) fn on_unregister(
    cluster: &mut Cluster,
    now: Now,
    request: RequestId,
    id: WorkerId,
    effects: &mut Vec<Effect>,
) {
    let waited = cluster.pending.contains_key(&id);
    stop_waiting(cluster, &id, effects);
    if !cluster.workers.contains_key(&id) {
        let known = cluster.workers.keys().cloned().collect();
        let answer = if waited { Ok(Answer::Done) } else { Err(Reject::WorkerNotFound { worker: id, known }) };
        effects.push(Effect::Reply(request, answer));
        return;
    }
    cluster.alarms.clear(&Alarm::Drained(id.clone()));
    cluster.alarms.clear(&Alarm::Failing(id.clone()));
    let runs: Vec<_> = live_runs(cluster, &id).map(|(key, _)| key).collect();
    let Some(worker) = cluster.workers.remove(&id) else { return };
    if let Some(session) = worker.session() {
        if !runs.is_empty() {
            let stop = runs.iter().map(|key| (*key, Decision::Stop)).collect();
            effects.push(Effect::Send(session, ToWorker::Decide(stop)));
        }
        effects.push(Effect::Close(session, Reject::Unregistered(id.clone())));
    }
    for key in &runs {
        let message = format!("{id} was unregistered");
        cluster.end_run(now, *key, Verdict::WorkerLost { message }, None, effects);
    }
    cluster.plan_stale = true;
    effects.push(Effect::Save(Change::Worker(id.clone(), None)));
    effects.push(Effect::Publish(Event::WorkerUnregistered { worker: id, attempts: runs.len() }));
    effects.push(Effect::Reply(request, Ok(Answer::Done)));
}
