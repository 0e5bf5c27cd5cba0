//! Whose silence it is. A master that slept has heard of nobody, and where most workers fall silent together it is more
//! likely the network of the master than all of their machines: then nothing is given up in haste, because what is given up
//! runs a second time.

use shared::id::WorkerId;
use shared::time::{BootTime, Now};

use crate::alarm::Alarm;
use crate::cluster::Cluster;
use crate::effect::Effect;
use crate::event::Event;
use crate::worker::Link;

/// Fewer workers than these may well fail together.
const FEW: usize = 3;

/// A timer that comes later than a lease lasts: the host slept, or this process was stopped. Everybody gets as long as after
/// a start to be heard of again.
pub(super) fn forgive_if_late(cluster: &mut Cluster, now: Now, effects: &mut Vec<Effect>) {
    let Some(due) = cluster.next_deadline() else { return };
    let late = now.boot.since(due);
    if late <= cluster.settings.lease {
        return;
    }
    cluster.awake = now.boot;
    for worker in cluster.workers.values_mut() {
        match worker.link {
            Link::Up { .. } => worker.heard = worker.heard.max(now.boot),
            Link::Down | Link::Lost => {}
        }
    }
    if cluster.alarms.is_set(&Alarm::Kept) {
        cluster.alarms.set(Alarm::Kept, now.boot + cluster.settings.start_grace);
    }
    effects.push(Effect::Publish(Event::MasterSlept { late }));
}

/// Whether the runs of a silent worker are kept for now, because at least half of all workers fell silent within a lease of
/// it. Once; when that time is over they are given up like others.
pub(super) fn hold(cluster: &mut Cluster, now: Now, id: &WorkerId, effects: &mut Vec<Effect>) -> bool {
    let Some(worker) = cluster.workers.get(id).filter(|worker| worker.held_until.is_none()) else { return false };
    let heard = worker.heard;
    let Silence { silent, of } = together(cluster, heard);
    if !is_mass(silent.len(), of) {
        return false;
    }
    let until = now.boot + cluster.settings.mass_loss_hold;
    for id in &silent {
        if let Some(worker) = cluster.workers.get_mut(id) {
            worker.held_until = Some(until);
        }
    }
    let silent = silent.len();
    effects.push(Effect::Publish(Event::WorkersSilent { silent, of, hold: cluster.settings.mass_loss_hold }));
    true
}

/// Enough have come back: those that are still silent have failed by themselves.
pub(super) fn end_hold(cluster: &mut Cluster) {
    let mut down = cluster.workers.values().filter(|worker| worker.link == Link::Down);
    let Some(held) = down.find(|worker| worker.held_until.is_some()) else { return };
    let Silence { silent, of } = together(cluster, held.heard);
    if is_mass(silent.len(), of) {
        return;
    }
    for worker in cluster.workers.values_mut() {
        if worker.held_until.is_some() {
            worker.held_until = Some(BootTime(0));
        }
    }
}

/// Workers that fell silent together.
struct Silence {
    silent: Vec<WorkerId>,
    /// Of how many that were there.
    of: usize,
}

fn together(cluster: &Cluster, heard: BootTime) -> Silence {
    let lease = cluster.settings.lease;
    let near = |other: BootTime| other.since(heard) <= lease && heard.since(other) <= lease;
    let there = || cluster.workers.iter().filter(|(_, worker)| worker.link != Link::Lost);
    let silent = there().filter(|(_, worker)| worker.link == Link::Down && near(worker.heard));
    Silence { silent: silent.map(|(id, _)| id.clone()).collect(), of: there().count() }
}

fn is_mass(silent: usize, of: usize) -> bool {
    of >= FEW && silent * 2 >= of
}
