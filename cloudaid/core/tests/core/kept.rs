//! A worker is lost, and nobody else could take what it holds.

use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::effect::{Answer, Effect};
use cloudaid_core::event::Event;
use cloudaid_core::input::{Input, Submission};
use cloudaid_core::testkit::{Link, World, assigned, brief, spec};
use shared::array::Array;
use shared::id::{AttemptKey, Elements, TaskId, TaskRef, WorkerId};
use shared::link::{Heartbeat, Held, Phase};
use shared::policy::RunPolicy;
use shared::resources::{GIB, Resources};
use shared::task::{TaskSpec, Verdict};
use shared::worker::Cordon;

const SECOND: Duration = Duration::from_secs(1);
const LOST: &str = "save attempt 2.0#1 on a Ended worker lost: a was not heard of for longer than its lease";

fn submit(world: &mut World, spec: TaskSpec) -> AttemptKey {
    let submission = world.submission(1, 1);
    let (_, effects) = world.submit_this(Submission { spec: Arc::new(spec), ..submission });
    let orders = assigned(&effects);
    assert_eq!(orders.len(), 1, "{effects:?}");
    orders[0].1.key
}

/// Past the grace after the start, with a worker that runs a task of three cores.
fn running() -> (World, Link, AttemptKey) {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let (a, _) = world.connect("a", 4, vec![]);
    let key = submit(&mut world, spec(3));
    world.started(&a, key);
    (world, a, key)
}

/// The same, when that worker was lost and nobody else is there.
fn kept() -> (World, AttemptKey) {
    let (mut world, a, key) = running();
    world.disconnect(&a);
    assert_eq!(brief(&world.pass(45 * SECOND)), ["save progress 2 running"]);
    (world, key)
}

/// Moves the clock while the workers are heard of.
fn pass(world: &mut World, links: &[&Link], seconds: u64) -> Vec<Effect> {
    let mut effects = Vec::new();
    for _ in 0..seconds {
        effects.extend(world.pass(SECOND));
        links.iter().for_each(|link| effects.extend(world.heard(link)));
    }
    effects
}

fn code(world: &World, task: TaskId) -> String {
    world.cluster.why(task.into()).expect("it is open").reasons[0].code.clone()
}

fn holds(key: AttemptKey) -> Vec<Held> {
    vec![Held { key, phase: Phase::Running }]
}

fn drain(world: &mut World, seconds: u64) {
    let (since, by) = (world.now.wall, "ada".parse().expect("a name"));
    let deadline = Some(since + Duration::from_secs(seconds));
    let cordon = Some(Cordon { since, by, reason: None, draining: true, deadline });
    let worker = "a".parse().expect("a name");
    world.ask(|request| Input::CordonWorker { request, worker, cordon }).0.expect("drained");
}

#[test]
fn it_goes_on_there_as_if_nothing_had_happened_when_the_worker_is_back() {
    let (mut world, a, key) = running();
    world.disconnect(&a);
    let (small, _) = world.connect("small", 2, vec![]);
    assert_eq!(brief(&pass(&mut world, &[&small], 44)), Vec::<String>::new());
    assert_eq!(brief(&pass(&mut world, &[&small], 1_000)), ["save progress 2 running"]);
    let why = world.cluster.why(key.task.into()).expect("it is held");
    assert_eq!(why.reasons[0].code, "unreachable");
    assert!(
        why.summary.contains("on a: it goes on there when that is back") && !why.summary.contains("once"),
        "{why:?}"
    );
    assert!(why.hint.contains("connect another one") && why.hint.contains("`cloudctl cancel task-"), "{why:?}");
    let (a, effects) = world.connect("a", 4, holds(key));
    assert_eq!(brief(&effects), ["save worker a", "s4 welcome Keep 2.0#1", "save progress 2 running"]);
    assert_eq!(code(&world, key.task), "running");
    let effects = world.finished(&a, key, Verdict::ExitCode { exit_code: 7 });
    assert!(brief(&effects).contains(&"save result 2.0 exit code 7".to_owned()), "{effects:?}");
    assert_eq!(world.saved.attempts.len(), 1);
}

#[test]
fn what_never_arrived_is_sent_again() {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let (a, _) = world.connect("a", 4, vec![]);
    submit(&mut world, spec(3));
    world.disconnect(&a);
    assert_eq!(brief(&world.pass(1_000 * SECOND)), ["save progress 2 pending"]);
    let (_, effects) = world.connect("a", 4, vec![]);
    assert_eq!(brief(&effects), ["save worker a", "s3 welcome", "s3 assign 2.0#1", "save progress 2 pending"]);
}

#[test]
fn what_the_worker_has_lost_too_runs_again() {
    let (mut world, _) = kept();
    let (a, effects) = world.connect("a", 4, vec![]);
    assert_eq!(assigned(&effects)[0].0, a.session);
    let lost = "save attempt 2.0#1 on a Ended worker lost: the worker no longer has its container";
    assert!(brief(&effects).contains(&lost.to_owned()), "{effects:?}");
}

#[test]
fn who_could_take_it_gets_it_when_its_worker_has_had_as_long_as_after_a_start() {
    let (mut world, key) = kept();
    let (small, effects) = world.connect("small", 2, vec![]);
    assert_eq!(brief(&effects), ["save worker small", "s3 welcome"]);
    let (large, effects) = world.connect("large", 4, vec![]);
    assert_eq!(brief(&effects), ["save worker large", "s4 welcome"]);
    let why = world.cluster.why(key.task.into()).expect("it is held");
    assert!(why.summary.contains("another one that could take it is there by now"), "{why:?}");
    assert_eq!(brief(&pass(&mut world, &[&small, &large], 59)), Vec::<String>::new());
    assert_eq!(
        brief(&pass(&mut world, &[&small, &large], 1)),
        [LOST, "save attempt 2.0#2 on large Pending", "s4 assign 2.0#2", "save progress 2 pending",]
    );
    // The old one comes back: what it holds is stopped, what it says is refused.
    let (a, effects) = world.connect("a", 4, holds(key));
    assert_eq!(brief(&effects), ["save worker a", "s5 welcome Stop 2.0#1"]);
    world.finished(&a, key, Verdict::ExitCode { exit_code: 7 });
    let second = AttemptKey { attempt: 2, fence: shared::id::Fence(key.fence.0 + 1), ..key };
    let effects = world.finished(&large, second, Verdict::Success);
    assert!(brief(&effects).contains(&"save result 2.0 success".to_owned()), "{effects:?}");
}

#[test]
fn a_worker_that_comes_back_larger_could_take_it() {
    let (mut world, _) = kept();
    let (small, _) = world.connect("small", 2, vec![]);
    world.disconnect(&small);
    let (large, _) = world.connect("small", 3, vec![]);
    let effects = pass(&mut world, &[&large], 60);
    assert!(brief(&effects).contains(&LOST.to_owned()), "{effects:?}");
    assert_eq!(assigned(&effects)[0].0, large.session);
}

#[test]
fn only_what_nobody_else_could_take_is_kept() {
    let (mut world, a, key) = running();
    let small = submit(&mut world, spec(1));
    world.started(&a, small);
    world.disconnect(&a);
    let (b, _) = world.connect("b", 2, vec![]);
    let effects = pass(&mut world, &[&b], 45);
    let lost = effects.iter().find_map(|effect| match effect {
        Effect::Publish(Event::WorkerLost { attempts, kept, .. }) => Some((*attempts, *kept)),
        _ => None,
    });
    assert_eq!(lost, Some((1, 1)));
    assert_eq!(assigned(&effects).iter().map(|(_, order)| order.key.task).collect::<Vec<_>>(), [small.task]);
    assert_eq!(code(&world, key.task), "unreachable");
}

#[test]
fn what_is_for_one_worker_waits_for_that_however_many_others_there_are() {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let (a, _) = world.connect("a", 4, vec![]);
    let (b, _) = world.connect("b", 4, vec![]);
    let key = submit(&mut world, TaskSpec { worker: "a".parse().ok(), ..spec(1) });
    world.started(&a, key);
    world.disconnect(&a);
    assert_eq!(brief(&pass(&mut world, &[&b], 1_000)), ["save progress 2 running"]);
    let (_, effects) = world.connect("c", 4, vec![]);
    assert_eq!(brief(&effects), ["save worker c", "s4 welcome"]);
    assert_eq!(code(&world, key.task), "unreachable");
}

#[test]
fn who_could_take_it_has_the_memory_that_it_has_now() {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let (a, _) = world.connect("a", 4, vec![]);
    let (backoff, memory_max_bytes) = ("0s".parse().ok(), Some(4 * GIB));
    let policy = RunPolicy { retries: 1, backoff, memory_max_bytes, ..RunPolicy::default() };
    let key = submit(&mut world, TaskSpec { policy, ..spec(1) });
    let effects = world.finished(&a, key, Verdict::oom(GIB));
    assert_eq!(assigned(&effects)[0].1.resources.memory_bytes, 2 * GIB);
    world.disconnect(&a);
    let little = |memory_bytes| Resources { memory_bytes, ..World::capacity(4) };
    let (b, _) = world.connect_with("b", little(GIB), vec![]);
    assert_eq!(assigned(&pass(&mut world, &[&b], 100)), []);
    assert_eq!(code(&world, key.task), "unreachable");
    let (c, _) = world.connect_with("c", little(2 * GIB), vec![]);
    assert_eq!(assigned(&pass(&mut world, &[&b, &c], 60))[0].0, c.session);
}

#[test]
fn a_person_who_cancels_waits_for_nobody() {
    let (mut world, key) = kept();
    let (answer, effects) = world.cancel(key.task.into());
    assert!(matches!(answer, Ok(Answer::Cancelled(view)) if !view.cancelling));
    assert_eq!(
        brief(&effects),
        [LOST, "save result 2.0 cancelled", "reply cancelled", "save progress 2 cancelled, over"]
    );
    let (_, effects) = world.connect("a", 4, holds(key));
    assert_eq!(brief(&effects), ["save worker a", "s3 welcome Stop 2.0#1"]);
}

#[test]
fn at_the_deadline_of_a_drain_it_waits_for_another_worker_and_that_costs_it_nothing() {
    let (mut world, key) = kept();
    drain(&mut world, 100);
    assert_eq!(brief(&world.pass(99 * SECOND)), Vec::<String>::new());
    assert_eq!(brief(&world.pass(SECOND)), [LOST, "save progress 2 queued"]);
    assert_eq!(code(&world, key.task), "worker_inactive");
    let progress = &world.saved.tasks[&key.task].1;
    assert_eq!(progress.spared.len(), 1, "{progress:?}");
}

#[test]
fn what_nobody_wants_there_any_more_is_not_kept() {
    let (mut world, a, key) = running();
    world.disconnect(&a);
    drain(&mut world, 10);
    assert_eq!(brief(&world.pass(44 * SECOND)), ["save progress 2 running"], "it is to leave");
    assert_eq!(brief(&world.pass(SECOND)), [LOST, "save progress 2 queued"]);
    assert_eq!(code(&world, key.task), "worker_inactive");
}

#[test]
fn what_is_kept_for_a_worker_that_is_taken_out_waits_for_another_one() {
    let (mut world, key) = kept();
    let worker: WorkerId = "a".parse().expect("a name");
    let (_, effects) = world.ask(|request| Input::UnregisterWorker { request, worker });
    assert_eq!(
        brief(&effects),
        [
            "save attempt 2.0#1 on a Ended worker lost: a was unregistered",
            "save worker a is no more",
            "reply done",
            "save progress 2 queued",
        ]
    );
    assert_eq!(code(&world, key.task), "no_workers");
}

#[test]
fn it_is_kept_over_a_restart_of_the_master() {
    let (mut world, key) = kept();
    world.restart();
    assert_eq!(brief(&world.pass(59 * SECOND)), Vec::<String>::new());
    assert_eq!(code(&world, key.task), "unreachable");
    assert_eq!(brief(&world.pass(SECOND)), ["save progress 2 running"], "it is judged anew");
    let (_, effects) = world.connect("a", 4, holds(key));
    assert_eq!(brief(&effects), ["save worker a", "s3 welcome Keep 2.0#1", "save progress 2 running"]);
}

#[test]
fn after_a_restart_of_the_master_it_has_as_long_as_others_to_be_heard_of() {
    let (mut world, key) = kept();
    world.restart();
    let (b, effects) = world.connect("b", 4, vec![]);
    assert_eq!(brief(&effects), ["save worker b", "s3 welcome"]);
    assert_eq!(brief(&pass(&mut world, &[&b], 59)), Vec::<String>::new());
    let effects = pass(&mut world, &[&b], 1);
    assert_eq!(assigned(&effects).iter().map(|(session, _)| *session).collect::<Vec<_>>(), [b.session]);
    let (_, effects) = world.connect("a", 4, holds(key));
    assert!(brief(&effects).contains(&"s4 welcome Stop 2.0#1".to_owned()), "{effects:?}");
}

/// Two workers, each with a task that the other one could run, were lost together: it was the link of the master.
fn lost_together() -> (World, [AttemptKey; 2]) {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let (a, _) = world.connect("a", 4, vec![]);
    let first = submit(&mut world, spec(3));
    let (b, _) = world.connect("b", 4, vec![]);
    let second = submit(&mut world, spec(3));
    world.started(&a, first);
    world.started(&b, second);
    world.disconnect(&a);
    world.disconnect(&b);
    assert_eq!(brief(&world.pass(45 * SECOND)), ["save progress 2 running", "save progress 3 running"]);
    (world, [first, second])
}

const SECOND_LOST: [&str; 2] = [
    "save attempt 3.0#1 on b Ended worker lost: b was not heard of for longer than its lease",
    "save progress 3 queued",
];

#[test]
fn who_is_back_first_takes_nothing_from_those_who_are_back_a_moment_later() {
    let (mut world, [first, second]) = lost_together();
    let (a, effects) = world.connect("a", 4, holds(first));
    assert_eq!(brief(&effects), ["save worker a", "s4 welcome Keep 2.0#1", "save progress 2 running"]);
    world.pass(Duration::from_millis(100));
    let (b, effects) = world.connect("b", 4, holds(second));
    assert_eq!(brief(&effects), ["save worker b", "s5 welcome Keep 3.0#1", "save progress 3 running"]);
    assert_eq!(brief(&pass(&mut world, &[&a, &b], 5)), Vec::<String>::new());
    // They are lost again: what was set before is not for this time.
    world.disconnect(&b);
    world.disconnect(&a);
    world.pass(45 * SECOND);
    let (a, _) = world.connect("a", 4, holds(first));
    assert_eq!(brief(&pass(&mut world, &[&a], 59)), Vec::<String>::new());
    let (b, _) = world.connect("b", 4, holds(second));
    assert_eq!(brief(&pass(&mut world, &[&a, &b], 100)), Vec::<String>::new());
    assert_eq!(world.saved.attempts.len(), 2);
}

#[test]
fn who_stays_away_when_others_are_back_is_given_up_after_a_while() {
    let (mut world, [first, second]) = lost_together();
    let (a, _) = world.connect("a", 4, holds(first));
    assert_eq!(brief(&pass(&mut world, &[&a], 30)), Vec::<String>::new());
    // That somebody connects again meanwhile does not make it longer.
    let (a, _) = world.connect("a", 4, holds(first));
    assert_eq!(brief(&pass(&mut world, &[&a], 29)), Vec::<String>::new());
    assert_eq!(brief(&pass(&mut world, &[&a], 1)), SECOND_LOST);
    let (_, effects) = world.connect("b", 4, holds(second));
    assert!(brief(&effects).contains(&"s6 welcome Stop 3.0#1".to_owned()), "{effects:?}");
}

#[test]
fn a_restart_of_the_master_begins_that_while_anew() {
    let (mut world, [first, _]) = lost_together();
    let (a, _) = world.connect("a", 4, holds(first));
    pass(&mut world, &[&a], 30);
    world.restart();
    let (a, _) = world.connect("a", 4, holds(first));
    assert_eq!(brief(&pass(&mut world, &[&a], 59)), Vec::<String>::new());
    assert_eq!(brief(&pass(&mut world, &[&a], 1)), SECOND_LOST);
}

#[test]
fn a_master_that_slept_begins_that_while_anew() {
    let (mut world, [first, _]) = lost_together();
    let (a, _) = world.connect("a", 4, holds(first));
    world.now.boot = world.now.boot + 1_000 * SECOND;
    assert_eq!(brief(&world.step(Input::TimerFired)), Vec::<String>::new());
    assert_eq!(brief(&pass(&mut world, &[&a], 59)), Vec::<String>::new());
    assert_eq!(brief(&pass(&mut world, &[&a], 1)), SECOND_LOST);
}

/// What is kept goes to `b` a while after that gets work again, and not before.
fn goes_to_who_gets_work_again(bar: impl FnOnce(&mut World, &Link), unbar: impl FnOnce(&mut World, &Link)) {
    let (mut world, a, _) = running();
    let (b, _) = world.connect("b", 4, vec![]);
    bar(&mut world, &b);
    world.disconnect(&a);
    assert_eq!(brief(&pass(&mut world, &[&b], 1_000)), ["save progress 2 running"]);
    unbar(&mut world, &b);
    assert_eq!(brief(&pass(&mut world, &[&b], 59)), Vec::<String>::new());
    let effects = pass(&mut world, &[&b], 1);
    assert!(brief(&effects).contains(&LOST.to_owned()), "{effects:?}");
    assert_eq!(assigned(&effects)[0].0, b.session);
}

#[test]
fn who_is_taken_out_of_use_could_take_nothing() {
    let set = |world: &mut World, link: &Link, draining: Option<bool>| {
        let (since, by, worker) = (world.now.wall, "ada".parse().expect("a name"), link.worker.clone());
        let cordon = draining.map(|draining| Cordon { since, by, reason: None, draining, deadline: None });
        world.ask(|request| Input::CordonWorker { request, worker, cordon }).0.expect("it is so");
    };
    for draining in [false, true] {
        goes_to_who_gets_work_again(|world, b| set(world, b, Some(draining)), |world, b| set(world, b, None));
    }
}

#[test]
fn who_says_that_something_is_wrong_there_could_take_nothing() {
    let says = |world: &mut World, link: &Link, problem: Option<&str>| {
        let heartbeat = Some(Heartbeat { problem: problem.map(str::to_owned), ..Heartbeat::default() });
        let Link { worker, session } = link.clone();
        world.step(Input::WorkerHeard { worker, session, at: world.now.boot, heartbeat });
    };
    goes_to_who_gets_work_again(|world, b| says(world, b, Some("no answer")), |world, b| says(world, b, None));
}

#[test]
fn what_never_arrived_is_not_sent_to_a_worker_that_is_back_with_less() {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let (a, _) = world.connect("a", 4, vec![]);
    let key = submit(&mut world, spec(3));
    world.disconnect(&a);
    world.pass(1_000 * SECOND);
    let (a, effects) = world.connect("a", 2, vec![]);
    let is_refused =
        |line: &String| line.starts_with("save attempt 2.0#1") && line.contains("has at most 2 CPU of 3 CPU in all");
    assert!(brief(&effects).iter().any(is_refused), "{effects:?}");
    assert_eq!(assigned(&effects), []);
    assert_eq!(assigned(&pass(&mut world, &[&a], 100)), []);
    assert_eq!(code(&world, key.task), "too_small_cpu");
}

#[test]
fn an_array_that_waits_for_one_that_is_away_says_so() {
    for (at_most_once, ends) in [(false, "`cloudctl cancel task-"), (true, "`cloudctl cancel --force task-")] {
        let mut world = World::default();
        world.pass(60 * SECOND);
        let (a, _) = world.connect("a", 4, vec![]);
        let policy = RunPolicy { at_most_once, ..RunPolicy::default() };
        let submission = world.submission(3, 1);
        let array = Some(Arc::new(Array { limit: Some(1), ..Array::of(9) }));
        let spec = Arc::new(TaskSpec { policy, ..spec(3) });
        let (task, effects) = world.submit_this(Submission { spec, array, ..submission });
        world.started(&a, assigned(&effects)[0].1.key);
        let waits = TaskRef { task, elements: Elements::One(5) };
        assert!(!world.cluster.why(waits).expect("it waits").summary.contains("not heard of"));
        world.disconnect(&a);
        let (small, _) = world.connect("small", 1, vec![]);
        pass(&mut world, &[&small], 100);
        let why = world.cluster.why(waits).expect("it waits");
        let away = TaskRef { task, elements: Elements::One(0) };
        assert_eq!(why.reasons[0].code, "array_limit");
        assert!(why.summary.contains(&format!("; the worker of {away} is not heard of")), "{why:?}");
        assert!(why.hint.contains(ends) && why.hint.contains(&away.to_string()), "{why:?}");
    }
}

#[test]
fn whoever_asks_after_a_restart_is_not_told_more_than_is_known() {
    let (mut world, key) = kept();
    world.restart();
    let summary = |world: &World| world.cluster.why(key.task.into()).expect("it is held").summary;
    assert!(summary(&world).contains("since the master's start on a: "), "{}", summary(&world));
    world.cancel(key.task.into()).0.expect("cancelled");
    assert_eq!(code(&world, key.task), "cancelling");
    assert!(summary(&world).contains("it is told to stop it when it is back"), "{}", summary(&world));
    assert!(brief(&world.pass(60 * SECOND)).contains(&"save result 2.0 cancelled".to_owned()));
}
