//! First in, first out, and the workers take turns.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use shared::id::{TaskId, WorkerId};

use super::{ClassDemand, Demand, Placement, Plan, Room, Scheduler};
use crate::queue::Shape;

/// The policy of the specification. It skips workers without room, and keeps its place by the worker's id and not by an
/// index, so that workers who come and go do not change whose turn it is. A class that fits nowhere does not hold up
/// others.
#[derive(Debug, Clone, Default)]
pub struct RoundRobin {
    last: Option<WorkerId>,
}

/// A task's place in the order of submissions; where it waits in several classes, those that ask for more come first: they
/// have run before.
type Place<'a> = (u64, Reverse<&'a Arc<Shape>>);

/// A class while a plan is made: its first task that still waits, what comes after, and where it does not fit.
struct Head<'a> {
    shape: &'a Arc<Shape>,
    task: TaskId,
    waiting: u32,
    rest: std::collections::btree_map::Iter<'a, u64, TaskId>,
    /// By the places of the workers; empty: it has fitted everywhere so far. Rooms only get less while a plan is made, so each is
    /// found too small, or not meant for it, once for a class and not for each of its elements.
    unfit: Vec<bool>,
}

impl Scheduler for RoundRobin {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn plan(&mut self, demand: &Demand<'_>, rooms: &[Room], limit: usize) -> Plan {
        let mut rooms = rooms.to_vec();
        let mut plan = Plan::default();
        let mut heads: BTreeMap<Place<'_>, Head<'_>> =
            demand.classes().iter().filter_map(|class| first(class, demand)).collect();
        let mut turn = self.last.as_ref().map_or(0, |last| rooms.partition_point(|room| room.worker <= *last));
        while let Some(mut entry) = heads.first_entry() {
            let head = entry.get_mut();
            let Some(at) = head.next_fit(&rooms, turn) else {
                entry.remove();
                continue;
            };
            if plan.placements.len() == limit {
                plan.unfinished = true;
                break;
            }
            let room = &mut rooms[at];
            room.take(head.shape);
            plan.placements.push(Placement {
                task: head.task,
                shape: Arc::clone(head.shape),
                worker: room.worker.clone(),
            });
            turn = at + 1;
            head.waiting -= 1;
            if head.waiting == 0 {
                let Head { shape, rest, unfit, .. } = entry.remove();
                heads.extend(next(shape, rest, unfit, demand));
            }
        }
        if let Some(placement) = plan.placements.last() {
            self.last = Some(placement.worker.clone());
        }
        plan
    }
}

impl Head<'_> {
    /// The first worker with room, from `turn` on and around.
    fn next_fit(&mut self, rooms: &[Room], turn: usize) -> Option<usize> {
        let turn = turn.min(rooms.len());
        (turn..rooms.len()).chain(0..turn).find(|at| {
            if self.unfit.get(*at) == Some(&true) {
                return false;
            }
            let fits = rooms[*at].fits(self.shape);
            if !fits {
                self.unfit.resize(rooms.len(), false);
                self.unfit[*at] = true;
            }
            fits
        })
    }
}

fn first<'a>(class: &ClassDemand<'a>, demand: &Demand<'_>) -> Option<(Place<'a>, Head<'a>)> {
    next(class.shape, class.tasks.iter(), Vec::new(), demand)
}

fn next<'a>(
    shape: &'a Arc<Shape>,
    mut rest: std::collections::btree_map::Iter<'a, u64, TaskId>,
    unfit: Vec<bool>,
    demand: &Demand<'_>,
) -> Option<(Place<'a>, Head<'a>)> {
    let (sequence, task, waiting) = rest
        .by_ref()
        .map(|(sequence, task)| (*sequence, *task, demand.waiting(*task, shape)))
        .find(|next| next.2 > 0)?;
    Some(((sequence, Reverse(shape)), Head { shape, task, waiting, rest, unfit }))
}

#[cfg(test)]
mod tests {
    use shared::feature::Features;
    use shared::resources::Resources;
    use shared::worker::{WorkerProtocol, WorkerState};
    use ulid::Ulid;

    use super::*;
    use crate::scheduler::WaitingCount;

    #[derive(Debug, Default)]
    struct World {
        classes: BTreeMap<Arc<Shape>, BTreeMap<u64, TaskId>>,
        waiting: BTreeMap<TaskId, u32>,
        rooms: Vec<Room>,
    }

    impl WaitingCount for World {
        fn waiting(&self, task: TaskId, _: &Shape) -> u32 {
            self.waiting.get(&task).copied().unwrap_or(0)
        }
    }

    fn cores(cores: u64) -> Resources {
        Resources { cpu_millis: cores * 1000, ..Resources::default() }
    }

    impl World {
        fn task(mut self, sequence: u64, cpu: u64, waiting: u32, worker: Option<&str>) -> Self {
            let id = TaskId(Ulid(u128::from(sequence)));
            let shape = Shape {
                resources: cores(cpu),
                worker: worker.map(|name| name.parse().expect("name")),
                user: "u".parse().expect("name"),
                needs_session: false,
                features: Features::default(),
                needs_internet: false,
                worker_labels: Default::default(),
            };
            self.classes.entry(Arc::new(shape)).or_default().insert(sequence, id);
            self.waiting.insert(id, waiting);
            self
        }

        fn worker(mut self, name: &str, cpu: u64, state: WorkerState) -> Self {
            let worker = name.parse().expect("name");
            let protocol = WorkerProtocol::Session;
            self.rooms.push(Room {
                worker,
                state,
                protocol,
                features: Features::default(),
                features_of_pool: Features::default(),
                capacity: cores(cpu),
                free: cores(cpu),
                gpus: Vec::new(),
                healthy: true,
                left_out: false,
                cordoned: false,
                offline: false,
                labels: Default::default(),
            });
            self
        }

        /// The plan as `sequence>worker`.
        fn plan(&self, policy: &mut RoundRobin, limit: usize) -> String {
            let classes = self.classes.iter().map(|(shape, tasks)| ClassDemand { shape, tasks }).collect();
            let plan = policy.plan(&Demand::new(classes, self), &self.rooms, limit);
            let mut words: Vec<_> =
                plan.placements.iter().map(|placed| format!("{}>{}", placed.task.0.0, placed.worker)).collect();
            words.extend(plan.unfinished.then(|| "...".to_owned()));
            words.join(" ")
        }
    }

    #[test]
    fn workers_take_turns_and_full_ones_are_skipped() {
        let active = WorkerState::Active;
        let world =
            World::default().task(1, 1, 6, None).worker("a", 1, active).worker("b", 2, active).worker("c", 9, active);
        assert_eq!(world.plan(&mut RoundRobin::default(), 99), "1>a 1>b 1>c 1>b 1>c 1>c");
    }

    #[test]
    fn what_is_full_for_one_task_is_full_for_the_next_of_its_class_and_not_for_smaller_ones() {
        let active = WorkerState::Active;
        let world = World::default()
            .task(1, 2, 2, None)
            .task(2, 2, 2, None)
            .task(3, 1, 2, None)
            .worker("a", 3, active)
            .worker("b", 6, active);
        assert_eq!(world.plan(&mut RoundRobin::default(), 99), "1>a 1>b 2>b 2>b 3>a");
    }

    #[test]
    fn its_place_is_kept_by_id_when_workers_come_and_go() {
        let active = WorkerState::Active;
        let mut policy = RoundRobin::default();
        let before = World::default().task(1, 1, 2, None).worker("b", 9, active).worker("d", 9, active);
        assert_eq!(before.plan(&mut policy, 1), "1>b ...");
        let after =
            World::default().task(1, 1, 3, None).worker("a", 9, active).worker("c", 9, active).worker("d", 9, active);
        assert_eq!(after.plan(&mut policy, 99), "1>c 1>d 1>a");
    }

    #[test]
    fn first_in_first_out_over_classes_and_a_blocked_class_holds_up_nobody() {
        let world = World::default()
            .task(1, 2, 1, None)
            .task(2, 8, 1, None)
            .task(3, 1, 1, None)
            .task(4, 2, 1, None)
            .worker("a", 5, WorkerState::Active);
        assert_eq!(world.plan(&mut RoundRobin::default(), 99), "1>a 3>a 4>a");
    }

    #[test]
    fn dispatched_tasks_go_to_their_worker_only_and_suspects_get_nothing() {
        let world = World::default()
            .task(1, 1, 1, Some("b"))
            .task(2, 1, 2, None)
            .worker("a", 1, WorkerState::Suspect)
            .worker("b", 2, WorkerState::Active)
            .worker("c", 2, WorkerState::Inactive);
        assert_eq!(world.plan(&mut RoundRobin::default(), 99), "1>b 2>b");
    }

    #[test]
    fn a_limit_cuts_the_plan_and_says_so_only_if_more_would_fit() {
        let world = World::default().task(1, 1, 3, None).worker("a", 2, WorkerState::Active);
        assert_eq!(world.plan(&mut RoundRobin::default(), 1), "1>a ...");
        assert_eq!(world.plan(&mut RoundRobin::default(), 2), "1>a 1>a");
    }
}
