//! Random histories: whatever comes in whatever order, every invariant holds after every step, no element ends twice, and
//! a cluster whose faults stop finishes everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::input::{Input, Submission};
use cloudaid_core::testkit::{Link, World, assigned};
use proptest::prelude::*;
use shared::array::Array;
use shared::gpu::{Gpu, IllGpu};
use shared::id::{AttemptKey, Elements, TaskId, TaskRef};
use shared::link::{Heartbeat, Held, Phase};
use shared::policy::RunPolicy;
use shared::ranges::RangeSet;
use shared::resources::Resources;
use shared::selector::{LabelWish, WorkerSelector};
use shared::span::Span;
use shared::task::{TaskSpec, Verdict};
use shared::worker::WorkerFacts;

#[derive(Debug, Clone)]
enum Action {
    Submit { cores: u64, gpu_millis: u64, array: Option<Array>, policy: RunPolicy, wish: Option<LabelWish> },
    Connect { worker: usize, remembers: bool },
    Disconnect { worker: usize },
    Start { pick: usize },
    Finish { pick: usize, verdict: Verdict },
    Repeat { pick: usize, verdict: Verdict },
    Cancel { pick: usize, elements: Elements, force: bool },
    Pass { seconds: u64 },
    Heard { worker: usize, ill: Option<bool> },
    Restart,
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        3 => Just(Verdict::Success),
        1 => Just(Verdict::ExitCode { exit_code: 1 }),
        2 => Just(Verdict::oom(1)),
        1 => Just(Verdict::Cancelled),
        1 => Just(Verdict::Rejected { message: String::new() }),
    ]
}

fn array() -> impl Strategy<Value = Array> {
    let progression = (0u32..5, 0u32..12, 1u32..4);
    (progression, prop::option::of(1u32..4)).prop_map(|((first, length, step), limit)| {
        let indices = RangeSet::progression(first, first + length, step);
        Array { indices, limit }
    })
}

fn policy() -> impl Strategy<Value = RunPolicy> {
    let span = || prop::option::weighted(0.3, (1u64..60).prop_map(Span::seconds));
    let memory_max = prop::option::of((1u64..9).prop_map(|gib| gib << 30));
    (span(), span(), 0u32..3, any::<bool>(), memory_max).prop_map(
        |(time_limit, queue_time_limit, retries, at_most_once, memory_max_bytes)| RunPolicy {
            time_limit,
            queue_time_limit,
            retries,
            memory_max_bytes,
            at_most_once: at_most_once && retries == 0,
            ..RunPolicy::default()
        },
    )
}

fn elements() -> impl Strategy<Value = Elements> {
    prop_oneof![
        Just(Elements::All),
        (0u32..9).prop_map(Elements::One),
        (0u32..9, 1u32..9).prop_map(|(first, more)| Elements::Range(first, first + more)),
    ]
}

fn gpu_millis() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0u64), 1 => (1u64..7).prop_map(|parts| parts * 400)]
}

/// What one of three workers meets, or two of them.
fn wish() -> impl Strategy<Value = Option<LabelWish>> {
    let one = prop::sample::select(vec!["number=1", "number!=2", "remembers", "remembers!=yes"]);
    prop::option::weighted(0.3, one.prop_map(|wish| wish.parse::<LabelWish>().expect("a wish")))
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1u64..4, gpu_millis(), prop::option::of(array()), policy(), wish())
            .prop_map(|(cores, gpu_millis, array, policy, wish)| Action::Submit { cores, gpu_millis, array, policy, wish }),
        3 => (0usize..3, any::<bool>()).prop_map(|(worker, remembers)| Action::Connect { worker, remembers }),
        2 => (0usize..3).prop_map(|worker| Action::Disconnect { worker }),
        4 => any::<usize>().prop_map(|pick| Action::Start { pick }),
        4 => (any::<usize>(), verdict()).prop_map(|(pick, verdict)| Action::Finish { pick, verdict }),
        2 => (any::<usize>(), verdict()).prop_map(|(pick, verdict)| Action::Repeat { pick, verdict }),
        2 => (any::<usize>(), elements(), any::<bool>())
            .prop_map(|(pick, elements, force)| Action::Cancel { pick, elements, force }),
        2 => (1u64..50).prop_map(|seconds| Action::Pass { seconds }),
        2 => (0usize..3, prop::option::of(any::<bool>())).prop_map(|(worker, ill)| Action::Heard { worker, ill }),
        1 => Just(Action::Restart),
    ]
}

/// What workers hold and what they were ever given.
#[derive(Default)]
struct Fleet {
    links: BTreeMap<usize, Link>,
    held: BTreeMap<AttemptKey, (usize, Phase)>,
    ever: Vec<AttemptKey>,
    tasks: Vec<TaskId>,
}

impl Fleet {
    fn take(&mut self, effects: &[cloudaid_core::effect::Effect]) {
        for (session, order) in assigned(effects) {
            let worker = self.links.iter().find(|(_, link)| link.session == session).map(|(worker, _)| *worker);
            let Some(worker) = worker else { panic!("something is assigned to a connection that is closed") };
            self.held.entry(order.key).or_insert((worker, Phase::Accepted));
            self.ever.push(order.key);
        }
    }

    fn inventory(&self, worker: usize) -> Vec<Held> {
        let held = self.held.iter().filter(|(_, (at, _))| *at == worker);
        held.map(|(key, (_, phase))| Held { key: *key, phase: *phase }).collect()
    }
}

/// Each has more cores than the one before. All have GPUs, and some only say how many.
fn facts(worker: usize, by_number: bool) -> WorkerFacts {
    let gpu = |uuid: &str| {
        let (millis, parent) = if uuid.starts_with('m') { (428, Some("g".to_owned())) } else { (1000, None) };
        Gpu { uuid: uuid.to_owned(), name: String::new(), millis, memory_bytes: 1, parent }
    };
    let gpus: Vec<_> = if by_number { vec![] } else { ["g1", "g2", "g3", "m1", "m2"].map(gpu).into() };
    let capacity = Resources { gpu_millis: 3856, ..World::capacity(2 + worker as u64) };
    let number = ("number".to_owned(), worker.to_string());
    // One that has lost its memory has lost a label too, but for the last: something runs everything.
    let remembers = (!by_number || worker == 2).then(|| ("remembers".to_owned(), String::new()));
    let labels = Arc::new(remembers.into_iter().chain([number]).collect());
    WorkerFacts { capacity, gpus, labels, ..WorkerFacts::default() }
}

fn act(world: &mut World, fleet: &mut Fleet, action: Action) {
    let effects = match action {
        Action::Submit { cores, gpu_millis, array, policy, wish } => {
            let submission = world.submission(cores, 1);
            let resources = Resources { gpu_millis, ..submission.spec.resources };
            let worker_labels = WorkerSelector::new(wish.into_iter().collect()).expect("one wish");
            let spec = Arc::new(TaskSpec { policy, resources, worker_labels, ..(*submission.spec).clone() });
            let (id, effects) = world.submit_this(Submission { array: array.map(Arc::new), spec, ..submission });
            fleet.tasks.push(id);
            effects
        }
        Action::Connect { worker, remembers } => {
            if !remembers {
                fleet.held.retain(|_, (at, _)| *at != worker);
            }
            let (link, effects) = world.connect_as(
                &format!("w{worker}"),
                facts(worker, worker == 0 || !remembers),
                fleet.inventory(worker),
            );
            fleet.links.insert(worker, link);
            effects
        }
        Action::Disconnect { worker } => match fleet.links.remove(&worker) {
            Some(link) => world.disconnect(&link),
            None => return,
        },
        Action::Start { pick } | Action::Finish { pick, .. } | Action::Repeat { pick, .. } => {
            let keys: Vec<_> = match action {
                Action::Repeat { .. } => fleet.ever.clone(),
                _ => fleet.held.keys().copied().collect(),
            };
            let Some(key) = keys.get(pick % keys.len().max(1)).copied() else { return };
            let worker = fleet.held.get(&key).map_or(pick % 3, |(worker, _)| *worker);
            let Some(link) = fleet.links.get(&worker).cloned() else { return };
            match action {
                Action::Start { .. } => {
                    fleet.held.insert(key, (worker, Phase::Running));
                    world.started(&link, key)
                }
                Action::Finish { verdict, .. } => {
                    fleet.held.remove(&key);
                    world.finished(&link, key, verdict)
                }
                Action::Repeat { verdict, .. } => world.finished(&link, key, verdict),
                _ => return,
            }
        }
        Action::Cancel { pick, elements, force } => {
            let Some(task) = fleet.tasks.get(pick % fleet.tasks.len().max(1)).copied() else { return };
            let target = TaskRef { task, elements };
            if force { world.force_cancel(target).1 } else { world.cancel(target).1 }
        }
        Action::Pass { seconds } => world.pass(Duration::from_secs(seconds)),
        Action::Heard { worker, ill } => match fleet.links.get(&worker).cloned() {
            Some(Link { worker, session }) => {
                let ill = ill
                    .map(|first| IllGpu { uuid: if first { "g1" } else { "m2" }.to_owned(), reason: "x".to_owned() });
                let heartbeat = Some(Heartbeat { ill_gpus: ill.into_iter().collect(), ..Heartbeat::default() });
                world.step(Input::WorkerHeard { worker, session, at: world.now.boot, heartbeat })
            }
            None => return,
        },
        Action::Restart => {
            fleet.links.clear();
            world.restart();
            return;
        }
    };
    fleet.take(&effects);
}

/// No faults any more: everything has to end.
fn heal(world: &mut World, fleet: &mut Fleet) {
    fleet.held.clear();
    for worker in 0..3 {
        act(world, fleet, Action::Connect { worker, remembers: false });
    }
    for round in 0..10_000 {
        let Some((key, (worker, _))) = fleet.held.pop_first() else {
            if world.saved.tasks.values().all(|(_, progress)| progress.finished_at.is_some()) {
                break;
            }
            // Something rests.
            (0..3).for_each(|worker| act(world, fleet, Action::Heard { worker, ill: None }));
            act(world, fleet, Action::Pass { seconds: 10 });
            assert!(round < 9_999, "it does not come to an end");
            continue;
        };
        let link = fleet.links[&worker].clone();
        let effects = world.finished(&link, key, Verdict::Success);
        fleet.take(&effects);
        assert!(round < 9_999, "it does not come to an end");
    }
    let open: Vec<_> = world.saved.tasks.values().filter(|(_, progress)| progress.finished_at.is_none()).collect();
    assert!(open.is_empty(), "{open:?}");
    let elements: u32 = world.saved.tasks.values().map(|(record, _)| record.count()).sum();
    assert_eq!(world.saved.results.len(), elements as usize, "every element has exactly one end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn any_history_keeps_every_invariant_and_ends(actions in prop::collection::vec(action(), 1..80)) {
        let mut world = World::default();
        let mut fleet = Fleet::default();
        for action in actions {
            act(&mut world, &mut fleet, action);
        }
        heal(&mut world, &mut fleet);
    }
}
