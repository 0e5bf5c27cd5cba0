//! Workers of the first generation are registered by an admin, or ask to be let in.

use std::net::SocketAddr;

use shared::id::{RequestId, WorkerId};
use shared::resources::Resources;
use shared::time::Now;
use shared::worker::WorkerFacts;

use crate::admission::{Admission, OPEN_LIMIT, PENDING_LIMIT, PENDING_PER_ADDRESS, PendingRecord};
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::record::{Change, WorkerRecord};
use crate::reject::Reject;
use crate::worker::{Link, Worker};

/// An admin registers a worker at an address.
pub(crate) fn on_register(
    cluster: &mut Cluster,
    now: Now,
    request: RequestId,
    worker: WorkerId,
    address: SocketAddr,
    effects: &mut Vec<Effect>,
) {
    let answer = match admission_of(cluster, &worker) {
        Some(Admission::Dialed(known)) if *known == address => Ok(Answer::Done),
        Some(Admission::Dialed(known)) => Err(Reject::RegisteredElsewhere(worker, *known)),
        Some(Admission::Certificate(_)) => Err(Reject::WorkerExists(worker)),
        Some(Admission::None) | None => match who_is_at(cluster, address) {
            Some(other) => Err(Reject::AddressTaken(address, other)),
            None => {
                admit(cluster, now, worker, address, effects);
                Ok(Answer::Done)
            }
        },
    };
    effects.push(Effect::Reply(request, answer));
}

/// The worker that is dialled at an address.
fn who_is_at(cluster: &Cluster, address: SocketAddr) -> Option<WorkerId> {
    let at = |worker: &Worker| worker.record.admission == Admission::Dialed(address);
    cluster.workers.iter().find(|(_, worker)| at(worker)).map(|(id, _)| id.clone())
}

/// An admin lets in who waits, at the address that it has given or at another.
pub(crate) fn on_approve(
    cluster: &mut Cluster,
    now: Now,
    request: RequestId,
    worker: WorkerId,
    address: Option<SocketAddr>,
    effects: &mut Vec<Effect>,
) {
    match cluster.pending.get(&worker) {
        Some(pending) => {
            let address = address.unwrap_or(pending.address);
            on_register(cluster, now, request, worker, address, effects);
        }
        None => effects.push(Effect::Reply(request, Err(Reject::NotPending(worker)))),
    }
}

/// A worker says that it is there. `open`: whoever is not known is let in.
pub(crate) fn on_announced(
    cluster: &mut Cluster,
    now: Now,
    request: RequestId,
    asking: PendingRecord,
    open: bool,
    effects: &mut Vec<Effect>,
) {
    let answer = match admission_of(cluster, &asking.worker) {
        Some(Admission::Dialed(known)) if known.ip() == asking.address.ip() => Ok(Answer::Admitted(*known)),
        Some(Admission::Dialed(known)) => Err(Reject::RegisteredElsewhere(asking.worker, *known)),
        Some(Admission::Certificate(_)) => Err(Reject::WorkerExists(asking.worker)),
        Some(Admission::None) | None if open => {
            if cluster.workers.len() >= OPEN_LIMIT {
                Err(Reject::TooManyWorkers)
            } else if let Some(other) = who_is_at(cluster, asking.address) {
                Err(Reject::AddressTaken(asking.address, other))
            } else {
                let PendingRecord { worker, address, .. } = asking;
                admit(cluster, now, worker, address, effects);
                Ok(Answer::Admitted(address))
            }
        }
        Some(Admission::None) | None => wait(cluster, asking, effects),
    };
    effects.push(Effect::Reply(request, answer));
}

fn wait(cluster: &mut Cluster, asking: PendingRecord, effects: &mut Vec<Effect>) -> Result<Answer, Reject> {
    let known = cluster.pending.get(&asking.worker);
    let beside = cluster.pending.values().filter(|other| other.address.ip() == asking.address.ip()).count();
    if known.is_none() && (cluster.pending.len() >= PENDING_LIMIT || beside >= PENDING_PER_ADDRESS) {
        return Err(Reject::TooManyWorkers);
    }
    // Who asks again from another place does not take the place of who asked first.
    if let Some(known) = known
        && known.address.ip() != asking.address.ip()
    {
        return Err(Reject::RegisteredElsewhere(asking.worker, known.address));
    }
    let asking = PendingRecord { since: known.map_or(asking.since, |known| known.since), ..asking };
    if known != Some(&asking) {
        let worker = asking.worker.clone();
        if known.is_none() {
            effects.push(Effect::Publish(Event::WorkerWaits { worker: worker.clone(), address: asking.address }));
        }
        effects.push(Effect::Save(Change::Pending(worker.clone(), Some(asking.clone()))));
        cluster.pending.insert(worker, asking);
    }
    Ok(Answer::Waits)
}

fn admission_of<'a>(cluster: &'a Cluster, worker: &WorkerId) -> Option<&'a Admission> {
    cluster.workers.get(worker).map(|worker| &worker.record.admission)
}

fn admit(cluster: &mut Cluster, now: Now, worker: WorkerId, address: SocketAddr, effects: &mut Vec<Effect>) {
    let capacity = cluster.pending.get(&worker).map_or_else(Resources::default, |pending| pending.capacity);
    stop_waiting(cluster, &worker, effects);
    let_in(cluster, now, worker, Admission::Dialed(address), (address.to_string(), capacity), effects);
}

/// It does not wait any more.
pub(super) fn stop_waiting(cluster: &mut Cluster, worker: &WorkerId, effects: &mut Vec<Effect>) {
    if cluster.pending.remove(worker).is_some() {
        effects.push(Effect::Save(Change::Pending(worker.clone(), None)));
    }
}

/// From now on a worker may connect that proves this. `facts`: its address and capacity, as far as they are known.
pub(super) fn let_in(
    cluster: &mut Cluster,
    now: Now,
    id: WorkerId,
    admission: Admission,
    facts: (String, Resources),
    effects: &mut Vec<Effect>,
) {
    let worker = cluster.workers.entry(id.clone()).or_insert_with(|| {
        let (address, capacity) = facts;
        let facts = WorkerFacts { address, capacity, ..WorkerFacts::default() };
        let (registered_at, seen_at) = (now.wall, now.wall);
        let admission = Admission::None;
        Worker::absent(WorkerRecord { id: id.clone(), admission, facts, registered_at, seen_at, cordon: None }, now)
    });
    worker.record.admission = admission.clone();
    if let Link::Up { .. } = worker.link {
        worker.link = Link::Down;
    }
    effects.push(Effect::Save(Change::Worker(id.clone(), Some(worker.record.clone()))));
    effects.push(Effect::Publish(Event::WorkerAdmitted { worker: id, admission }));
    cluster.plan_stale = true;
}
