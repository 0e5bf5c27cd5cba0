//! What a worker is, whatever runs there and however it fares, and what that keeps off it.

use std::collections::BTreeMap;

use shared::feature::Features;
use shared::id::WorkerId;
use shared::resources::{Kind, Resources, Shortage};
use shared::worker::WorkerProtocol;

use crate::gpus::{self, Device};
use crate::queue::Shape;
use crate::record::WorkerRecord;
use crate::scheduler::Obstacle;
use crate::settings::Settings;
use crate::worker::Worker;

/// A worker as it stays while tasks come and go. What never runs there is decided here, and nowhere else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature<'a> {
    pub(crate) worker: &'a WorkerId,
    /// Not everything can be told to everybody.
    pub(crate) protocol: WorkerProtocol,
    /// What it knows.
    pub(crate) features: Features,
    /// What all that runs there needs it to know because of its pool.
    pub(crate) features_of_pool: Features,
    /// Whether nothing that runs there reaches the Internet.
    pub(crate) offline: bool,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// All that it has.
    pub(crate) capacity: Resources,
}

impl<'a> Nature<'a> {
    pub(crate) fn of(id: &'a WorkerId, worker: &'a Worker, settings: &Settings) -> Self {
        let WorkerRecord { admission, facts, .. } = &worker.record;
        Self {
            worker: id,
            protocol: admission.protocol(),
            features: facts.features,
            features_of_pool: settings.features_of_pool(&facts.labels),
            offline: settings.is_offline(&facts.labels),
            labels: &facts.labels,
            capacity: facts.capacity,
        }
    }

    /// All that keeps a task of this shape off it for ever. `unused` are its GPUs as if nobody had any of them; empty: they
    /// are not known one by one, or none is asked for.
    pub(crate) fn never(self, shape: &Shape, unused: &[Device]) -> impl Iterator<Item = Obstacle> {
        let wanted = shape.resources;
        let too_small = Kind::ALL.into_iter().filter_map(move |kind| self.too_small(kind, kind.of(&wanted), unused));
        self.refusals(shape).chain(too_small.map(Obstacle::TooSmall))
    }

    /// Why a task of this shape is not for it, however much it has; the first of them is the one to tell.
    pub(crate) fn refusals(self, shape: &Shape) -> impl Iterator<Item = Obstacle> {
        let is_for_another = shape.worker.as_ref().is_some_and(|wanted| wanted != self.worker);
        let unknown = shape.unknown_to(self.protocol, self.features, self.features_of_pool);
        let all = [
            is_for_another.then_some(Obstacle::OtherWorkerRequested),
            (!shape.worker_labels.is_met_by(self.labels)).then_some(Obstacle::OtherLabels),
            (!shape.can_be_told(self.protocol)).then_some(Obstacle::FirstGeneration),
            (!unknown.is_empty()).then_some(Obstacle::Outdated(unknown)),
            (self.offline && shape.needs_internet).then_some(Obstacle::Offline),
        ];
        all.into_iter().flatten()
    }

    /// What it has in all of one kind, where that is not as much as is wanted. `unused` as for [`Self::never`].
    pub(crate) fn too_small(self, kind: Kind, wanted: u64, unused: &[Device]) -> Option<Shortage> {
        let (is_enough, available) = match kind {
            Kind::Gpu if !unused.is_empty() => (gpus::could(unused, wanted), gpus::most(unused)),
            Kind::Cpu | Kind::Memory | Kind::Storage | Kind::Gpu => {
                let available = kind.of(&self.capacity);
                (available >= wanted, available)
            }
        };
        (!is_enough).then_some(Shortage { kind, available, wanted })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shared::confinement::{Confinement, NetworkAccess};
    use shared::gpu::Gpu;
    use shared::task::TaskSpec;
    use shared::worker::WorkerFacts;

    use super::*;
    use crate::admission::{Admission, POOL};
    use crate::testkit::{World, spec};

    /// What a worker with 4 cores says of itself.
    fn facts(features: Features, pool: &str, gpus: &[&str]) -> WorkerFacts {
        let gpu = |uuid: &&str| {
            let (uuid, name) = ((*uuid).to_owned(), "H".to_owned());
            Gpu { uuid, name, millis: 1000, memory_bytes: 1, parent: None }
        };
        let gpus: Vec<_> = gpus.iter().map(gpu).collect();
        let gpu_millis = gpus.iter().map(|gpu| gpu.millis).sum();
        let labels = BTreeMap::from([(POOL.to_owned(), pool.to_owned())]);
        let capacity = Resources { gpu_millis, ..World::capacity(4) };
        WorkerFacts { capacity, gpus, labels: Arc::new(labels), features, ..WorkerFacts::default() }
    }

    fn asking(gpu_millis: u64) -> TaskSpec {
        let plain = spec(1);
        TaskSpec { resources: Resources { gpu_millis, ..plain.resources }, ..plain }
    }

    #[test]
    fn what_never_runs_on_a_worker_is_the_same_for_whoever_asks() {
        let mut world = World::new(Settings { strict_pools: ["edge".to_owned()].into(), ..Settings::default() });
        world.connect_as("a", facts(Features::ALL, "main", &[]), vec![]);
        world.connect_as("b", facts(Features::default(), "main", &[]), vec![]);
        world.connect_as("c", facts(Features::ALL, "edge", &[]), vec![]);
        world.connect_as("d", facts(Features::ALL, "main", &["g"]), vec![]);
        world.connect_as("e", facts(Features::ALL, "main", &[]), vec![]);
        let seed: WorkerId = "e".parse().expect("a name");
        let seed = world.cluster.workers.get_mut(&seed).expect("it is there");
        seed.record.admission = Admission::Dialed("127.0.0.1:1".parse().expect("an address"));
        // What runs is in the way now, and not for ever.
        (0..4).for_each(|_| drop(world.submit(4, 1)));
        let public = Confinement { network: NetworkAccess::Public, ..Confinement::default() };
        for (wanted, expected) in [
            (spec(1), "abcde"),
            (spec(64), ""),
            (TaskSpec { worker: "a".parse().ok(), ..spec(1) }, "a"),
            (TaskSpec { confinement: public, ..spec(1) }, "ad"),
            (asking(500), "d"),
            (asking(2000), ""),
        ] {
            let shape = Shape::new(&wanted, false, "ada".parse().expect("a name"));
            let rooms = world.cluster.rooms();
            let of_rooms = rooms.iter().filter(|room| room.could_ever_fit(&shape)).map(|room| room.worker.as_str());
            assert_eq!(of_rooms.collect::<String>(), expected, "{wanted:?}");
            let settings = &world.cluster.settings;
            let could = |(id, worker): &(&WorkerId, &Worker)| shape.could_ever_fit(id, worker, settings);
            let of_workers = world.cluster.workers.iter().filter(could).map(|(id, _)| id.as_str());
            assert_eq!(of_workers.collect::<String>(), expected, "{wanted:?}");
        }
    }
}
