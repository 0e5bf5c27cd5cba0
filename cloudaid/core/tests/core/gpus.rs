//! GPUs, leased one by one.

use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::effect::Effect;
use cloudaid_core::input::{Input, Submission};
use cloudaid_core::testkit::{Link, World, assigned, brief};
use shared::gpu::{Gpu, IllGpu};
use shared::id::{AttemptKey, TaskId};
use shared::link::{Heartbeat, Held, Phase, ToWorker};
use shared::resources::Resources;
use shared::task::{TaskSpec, Verdict};
use shared::worker::WorkerFacts;

/// A worker with these: their names and thousandths; those that begin with `m` are slices.
fn facts(gpus: &[(&str, u64)]) -> WorkerFacts {
    let gpu = |&(uuid, millis): &(&str, u64)| Gpu {
        uuid: uuid.to_owned(),
        name: "H".to_owned(),
        millis,
        memory_bytes: 1,
        parent: uuid.starts_with('m').then(|| "g".to_owned()),
    };
    let gpus: Vec<_> = gpus.iter().map(gpu).collect();
    let capacity = Resources { gpu_millis: gpus.iter().map(|gpu| gpu.millis).sum(), ..World::capacity(32) };
    WorkerFacts { capacity, gpus, ..WorkerFacts::default() }
}

fn world(gpus: &[(&str, u64)]) -> (World, Link) {
    let mut world = World::default();
    world.pass(Duration::from_secs(60));
    let (link, _) = world.connect_as("a", facts(gpus), vec![]);
    (world, link)
}

fn submit(world: &mut World, gpu_millis: u64) -> (TaskId, Vec<Effect>) {
    let submission = world.submission(1, 1);
    let resources = Resources { gpu_millis, ..submission.spec.resources };
    let spec = Arc::new(TaskSpec { resources, ..(*submission.spec).clone() });
    world.submit_this(Submission { spec, ..submission })
}

/// What is assigned, each with its GPUs.
fn leases(effects: &[Effect]) -> Vec<(AttemptKey, String)> {
    let shown = |gpus: &[shared::gpu::GpuLease]| gpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    assigned(effects).iter().map(|(_, order)| (order.key, shown(&order.gpus))).collect()
}

fn only(effects: &[Effect]) -> (AttemptKey, String) {
    let mut all = leases(effects);
    assert_eq!(all.len(), 1, "{effects:?}");
    all.remove(0)
}

/// A heartbeat that says which GPUs are ill.
fn heard(world: &mut World, link: &Link, ill: &[&str]) -> Vec<Effect> {
    let ill_gpus = ill.iter().map(|uuid| IllGpu { uuid: (*uuid).to_owned(), reason: "Xid 79".to_owned() }).collect();
    let (worker, session, at) = (link.worker.clone(), link.session, world.now.boot);
    let heartbeat = Some(Heartbeat { ill_gpus, ..Heartbeat::default() });
    world.step(Input::WorkerHeard { worker, session, at, heartbeat })
}

fn why(world: &World, task: TaskId) -> (String, bool) {
    let why = world.cluster.why(task.into()).expect("it waits");
    (why.reasons[0].code.clone(), why.can_never_run)
}

#[test]
fn each_run_has_gpus_of_its_own_and_parts_share_one() {
    let (mut world, a) = world(&[("g1", 1000), ("g2", 1000)]);
    let (_, effects) = submit(&mut world, 500);
    let (half, lease) = only(&effects);
    assert_eq!(lease, "0.5 of g1");
    let (_, effects) = submit(&mut world, 1000);
    assert_eq!(only(&effects).1, "g2", "the one that is whole");
    let (waits, effects) = submit(&mut world, 1000);
    assert_eq!(leases(&effects), []);
    assert_eq!(why(&world, waits), ("insufficient_gpu".to_owned(), false));
    let (_, effects) = submit(&mut world, 300);
    assert_eq!(only(&effects).1, "0.3 of g1");
    let effects = world.finished(&a, half, Verdict::Success);
    assert_eq!(leases(&effects), [], "a part of it is still held");
    let view = world.cluster.worker_view(&a.worker).expect("known");
    let free: Vec<_> = view.gpus.iter().map(|gpu| (gpu.gpu.uuid.as_str(), gpu.free_millis)).collect();
    assert_eq!(free, [("g1", 700), ("g2", 0)]);
}

#[test]
fn two_halves_are_no_whole_and_slices_never_are() {
    let (mut world, _) = world(&[("g1", 1000), ("m1", 428), ("m2", 428)]);
    assert_eq!(only(&submit(&mut world, 600).1).1, "0.6 of g1");
    let (waits, effects) = submit(&mut world, 1000);
    assert_eq!((leases(&effects), why(&world, waits)), (vec![], ("insufficient_gpu".to_owned(), false)));
    let (never, effects) = submit(&mut world, 1600);
    assert_eq!((leases(&effects), why(&world, never)), (vec![], ("too_small_gpu".to_owned(), true)));
    assert_eq!(only(&submit(&mut world, 400).1).1, "0.4 of g1", "where it fits most tightly");
    assert_eq!(only(&submit(&mut world, 400).1).1, "0.4 of m1");
}

#[test]
fn an_ill_gpu_gets_nothing_until_it_is_well() {
    let (mut world, a) = world(&[("g1", 1000), ("g2", 1000)]);
    heard(&mut world, &a, &["g1"]);
    assert_eq!(only(&submit(&mut world, 1000).1).1, "g2");
    let (waits, effects) = submit(&mut world, 1000);
    assert_eq!((leases(&effects), why(&world, waits)), (vec![], ("gpu_ill".to_owned(), false)));
    let view = world.cluster.worker_view(&a.worker).expect("known");
    assert_eq!(view.gpus[0].problem.as_deref(), Some("Xid 79"));
    assert_eq!(only(&heard(&mut world, &a, &[])).1, "g1");
}

#[test]
fn what_fails_with_its_gpu_runs_again_elsewhere_and_what_fails_beside_it_does_not() {
    let (mut world, a) = world(&[("g1", 1000), ("g2", 1000)]);
    let (first, _) = only(&submit(&mut world, 1000).1);
    let (second, _) = only(&submit(&mut world, 1000).1);
    world.started(&a, first);
    world.started(&a, second);
    heard(&mut world, &a, &["g1"]);
    let failed = Verdict::ExitCode { exit_code: 1 };
    let effects = world.finished(&a, second, failed.clone());
    assert!(brief(&effects).contains(&"save result 3.0 exit code 1".to_owned()), "{effects:?}");
    let effects = world.finished(&a, first, failed);
    assert_eq!(only(&effects).1, "g2");
    let said = brief(&effects).into_iter().find(|line| line.starts_with("save attempt 2.0#1")).expect("its end");
    assert!(said.contains("exit code 1, and something is wrong with its GPU g1: Xid 79"), "{said}");
}

#[test]
fn leases_outlive_the_master_and_gpus_that_are_taken_out() {
    let (mut world, a) = world(&[("g1", 1000), ("g2", 1000)]);
    let (key, _) = only(&submit(&mut world, 1000).1);
    world.started(&a, key);
    world.restart();
    let held = vec![Held { key, phase: Phase::Running }];
    let (_, _) = world.connect_as("a", facts(&[("g1", 1000), ("g2", 1000)]), held.clone());
    assert_eq!(only(&submit(&mut world, 1000).1).1, "g2");
    let (waits, _) = submit(&mut world, 1000);
    let (a, effects) = world.connect_as("a", facts(&[("g3", 1000)]), held);
    assert_eq!(leases(&effects).iter().map(|(_, gpus)| gpus.as_str()).collect::<Vec<_>>(), ["g3"]);
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Send(_, ToWorker::Assign(orders)) if orders.len() == 1))
    );
    assert!(brief(&effects).iter().any(|line| line.contains("no longer has the GPU")), "{effects:?}");
    assert_eq!(assigned(&effects)[0].1.key.task, waits);
    let failed = Verdict::ExitCode { exit_code: 1 };
    let said = brief(&world.finished(&a, key, failed));
    assert!(said.iter().any(|line| line.contains("its worker has it no more")), "{said:?}");
}

#[test]
fn a_run_that_was_placed_by_number_has_some_gpu() {
    let mut world = World::default();
    world.pass(Duration::from_secs(60));
    let by_number = Resources { gpu_millis: 2000, ..World::capacity(32) };
    let (a, _) = world.connect_with("a", by_number, vec![]);
    let (key, lease) = only(&submit(&mut world, 1000).1);
    assert_eq!(lease, "");
    world.started(&a, key);
    let held = vec![Held { key, phase: Phase::Running }];
    world.connect_as("a", facts(&[("g1", 1000), ("g2", 1000)]), held);
    assert_eq!(only(&submit(&mut world, 1000).1).1, "g2");
    assert_eq!(leases(&submit(&mut world, 1000).1), []);
}
