//! Time limits, retries and what may run once at most.

use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::effect::{Answer, Effect};
use cloudaid_core::input::Submission;
use cloudaid_core::record::Change;
use cloudaid_core::testkit::{Link, World, assigned, brief};
use shared::id::{AttemptKey, TaskId};
use shared::link::{AttemptChange, Held, Outcome, Phase, ToWorker};
use shared::policy::RunPolicy;
use shared::resources::{GIB, Resources};
use shared::span::Span;
use shared::task::{TaskSpec, Verdict};

const SECOND: Duration = Duration::from_secs(1);

fn world() -> (World, Link) {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let (a, _) = world.connect("a", 4, vec![]);
    (world, a)
}

fn submit(world: &mut World, count: u32, policy: RunPolicy) -> (TaskId, Vec<Effect>) {
    let submission = world.submission(1, count);
    let spec = Arc::new(TaskSpec { policy, ..(*submission.spec).clone() });
    world.submit_this(Submission { spec, ..submission })
}

fn only(effects: &[Effect]) -> AttemptKey {
    let orders = assigned(effects);
    assert_eq!(orders.len(), 1, "{effects:?}");
    orders[0].1.key
}

/// Moves the clock while the workers are heard of.
fn pass(world: &mut World, links: &[&Link], time: Duration) -> Vec<Effect> {
    let mut effects = Vec::new();
    for _ in 0..time.as_secs() {
        effects.extend(world.pass(SECOND));
        links.iter().for_each(|link| effects.extend(world.heard(link)));
    }
    effects
}

fn failed() -> Verdict {
    Verdict::ExitCode { exit_code: 3 }
}

#[test]
fn a_failure_is_retried_as_often_as_was_asked_for_and_ever_more_slowly() {
    let (mut world, a) = world();
    let (task, effects) = submit(&mut world, 1, RunPolicy { retries: 2, ..RunPolicy::default() });
    let mut key = only(&effects);
    for pause in [10, 20] {
        let effects = world.finished(&a, key, failed());
        assert!(brief(&effects).iter().any(|line| line.ends_with("queued")), "{effects:?}");
        let why = world.cluster.why(task.into()).expect("it waits");
        assert_eq!(why.reasons[0].code, "resting");
        assert_eq!(assigned(&pass(&mut world, &[&a], (pause - 1) * SECOND)), []);
        key = only(&pass(&mut world, &[&a], SECOND));
    }
    assert_eq!(key.attempt, 3);
    let effects = world.finished(&a, key, failed());
    assert!(brief(&effects).contains(&"save result 2.0 exit code 3".to_owned()), "{effects:?}");
}

#[test]
fn what_a_run_has_lost_is_kept_with_it_when_another_one_comes() {
    let (mut world, a) = world();
    let (_, effects) = submit(&mut world, 1, RunPolicy { retries: 1, ..RunPolicy::default() });
    let end = |world: &mut World, key| {
        let output_notes = vec!["the log may lack its end".to_owned()];
        let outcome = Outcome { output_notes, ..world.outcome(failed()) };
        let effects = world.report(&a, key, AttemptChange::Finished(outcome));
        let kept = effects.into_iter().find_map(|effect| match effect {
            Effect::Save(Change::Attempt(attempt)) => Some(attempt.notes),
            _ => None,
        });
        kept.expect("it is saved")
    };
    assert_eq!(end(&mut world, only(&effects)), ["the log may lack its end"]);
    let key = only(&pass(&mut world, &[&a], 10 * SECOND));
    assert_eq!(end(&mut world, key), [""; 0], "its result has them");
}

#[test]
fn what_infrastructure_does_is_not_counted_as_a_failure_of_the_task() {
    let (mut world, a) = world();
    let (_, effects) = submit(&mut world, 1, RunPolicy { retries: 1, ..RunPolicy::default() });
    let lost = Verdict::WorkerLost { message: "x".to_owned() };
    let key = only(&world.finished(&a, only(&effects), lost.clone()));
    world.finished(&a, key, failed());
    let key = only(&pass(&mut world, &[&a], 10 * SECOND));
    let key = only(&world.finished(&a, key, lost));
    let effects = world.finished(&a, key, failed());
    assert!(brief(&effects).contains(&"save result 2.0 exit code 3".to_owned()), "{effects:?}");
}

#[test]
fn only_the_named_failures_are_retried() {
    let (mut world, a) = world();
    let policy = RunPolicy {
        retries: 5,
        retry_on: vec!["oom".parse().expect("one"), "exit:137".parse().expect("one")],
        ..RunPolicy::default()
    };
    for (verdict, again) in [
        (Verdict::oom(1), true),
        (Verdict::Signal { signal: 9, by_hand: false }, true),
        (failed(), false),
        (Verdict::Image { message: String::new() }, false),
        (Verdict::Success, false),
    ] {
        let (task, effects) = submit(&mut world, 1, policy.clone());
        let key = *assigned(&effects).iter().map(|(_, order)| &order.key).find(|key| key.task == task).expect("placed");
        world.finished(&a, key, verdict.clone());
        assert_eq!(world.cluster.is_open(task.into()), again, "{verdict}");
    }
}

fn oom() -> Verdict {
    Verdict::oom(1)
}

/// Grows at once.
fn growing(most: u64) -> RunPolicy {
    let backoff = "0s".parse().ok();
    RunPolicy { retries: 9, backoff, memory_max_bytes: Some(most * GIB), ..RunPolicy::default() }
}

/// The memory of what these effects assign, in GiB.
fn memories(effects: &[Effect]) -> Vec<u64> {
    assigned(effects).iter().map(|(_, order)| order.resources.memory_bytes / GIB).collect()
}

#[test]
fn what_was_out_of_memory_gets_twice_as_much_up_to_what_the_task_may_have() {
    let (mut world, a) = world();
    let (_, mut effects) = submit(&mut world, 1, growing(6));
    let mut had = Vec::new();
    for verdict in [oom(), failed(), oom(), oom()] {
        had.extend(memories(&effects));
        effects = world.finished(&a, only(&effects), verdict);
    }
    had.extend(memories(&effects));
    assert_eq!(had, [1, 2, 2, 4, 6], "other failures do not take it away");
    let key = only(&effects);
    world.restart();
    let (a, _) = world.connect("a", 4, vec![Held { key, phase: Phase::Running }]);
    let lost = Verdict::WorkerLost { message: String::new() };
    assert_eq!(memories(&world.finished(&a, key, lost)), [6], "nor does the infrastructure, nor a new start");
}

#[test]
fn nobody_is_made_to_wait_for_a_worker_that_is_not_there() {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let (a, _) = world.connect_with("a", Resources { memory_bytes: 3 * GIB, ..World::capacity(4) }, vec![]);
    let (_, effects) = submit(&mut world, 1, growing(64));
    let effects = world.finished(&a, only(&effects), oom());
    assert_eq!(memories(&effects), [2]);
    let effects = world.finished(&a, only(&effects), oom());
    assert_eq!(memories(&effects), [3], "all that the largest worker has");
    assert_eq!(memories(&world.finished(&a, only(&effects), oom())), [3]);
}

#[test]
fn elements_with_more_memory_hold_up_nobody_and_count_against_the_limit_of_their_array() {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let (a, _) = world.connect_with("a", Resources { memory_bytes: 3 * GIB, ..World::capacity(9) }, vec![]);
    let submission = world.submission(1, 6);
    let spec = Arc::new(TaskSpec { policy: growing(4), ..(*submission.spec).clone() });
    let array = Some(Arc::new("0-5%3".parse().expect("an array")));
    let (task, effects) = world.submit_this(Submission { spec, array, ..submission });
    let keys: Vec<_> = assigned(&effects).iter().map(|(_, order)| order.key).collect();
    assert_eq!(memories(&effects), [1, 1, 1]);
    assert_eq!(memories(&world.finished(&a, keys[0], oom())), [1], "2 GiB are not free: another one goes on");
    let queue = world.cluster.queue_view(9);
    let waiting: Vec<_> = queue.tasks.iter().map(|row| (row.waiting, row.resources.memory_bytes / GIB)).collect();
    assert_eq!((queue.waiting, waiting), (3, vec![(2, 1), (1, 2)]));
    assert_eq!(memories(&world.finished(&a, keys[1], Verdict::Success)), [1]);
    assert_eq!(memories(&world.finished(&a, keys[2], Verdict::Success)), [1]);
    assert!(world.cluster.is_open(task.into()));
}

#[test]
fn an_array_of_which_much_waits_to_run_again_begins_nothing_new() {
    let mut world = World::default();
    world.pass(60 * SECOND);
    let (a, _) = world.connect("a", 1000, vec![]);
    let backoff = "1h".parse().ok();
    let (task, effects) = submit(&mut world, 2500, RunPolicy { retries: 1, backoff, ..RunPolicy::default() });
    let mut begun = assigned(&effects).len();
    assert_eq!(begun, 1000);
    for (n, (_, order)) in assigned(&effects).into_iter().enumerate() {
        // Not all in one way, or one at a time were tried.
        let verdict = Verdict::ExitCode { exit_code: if n % 2 == 0 { 3 } else { 4 } };
        begun += assigned(&world.finished(&a, order.key, verdict)).len();
    }
    assert_eq!(begun, 1000 + 999, "while fewer than 1,000 wait again");
    let why = world.cluster.why(task.into()).expect("it waits");
    assert_eq!(why.reasons[0].code, "resting", "{why:?}");
}

#[test]
fn classes_of_one_array_share_its_limit_within_one_plan() {
    let (mut world, a) = world();
    let submission = world.submission(1, 3);
    let spec = Arc::new(TaskSpec { policy: growing(4), ..(*submission.spec).clone() });
    let array = Some(Arc::new("0-2%1".parse().expect("an array")));
    let (_, effects) = world.submit_this(Submission { spec, array, ..submission });
    let mut had = memories(&effects);
    let mut key = only(&effects);
    for verdict in [oom(), oom(), Verdict::Success, Verdict::Success] {
        let effects = world.finished(&a, key, verdict);
        key = only(&effects);
        had.extend(memories(&effects));
    }
    assert_eq!(had, [1, 2, 4, 1, 1], "what has run before comes first");
}

#[test]
fn a_pause_and_a_limit_begin_again_with_the_master() {
    let (mut world, a) = world();
    let policy = RunPolicy { retries: 1, queue_time_limit: Some(Span::seconds(60)), ..RunPolicy::default() };
    let (_, effects) = submit(&mut world, 1, policy);
    world.finished(&a, only(&effects), failed());
    world.restart();
    let (a, effects) = world.connect("a", 4, vec![]);
    assert_eq!(assigned(&effects), []);
    only(&pass(&mut world, &[&a], 10 * SECOND));
}

#[test]
fn what_waits_too_long_fails_and_what_runs_does_not() {
    let (mut world, a) = world();
    let policy = RunPolicy { queue_time_limit: Some(Span::seconds(20)), ..RunPolicy::default() };
    let (_, effects) = submit(&mut world, 6, policy);
    assert_eq!(assigned(&effects).len(), 4);
    assert_eq!(brief(&pass(&mut world, &[&a], 19 * SECOND)), Vec::<String>::new());
    assert_eq!(
        brief(&pass(&mut world, &[&a], SECOND)),
        [
            "save result 2.4 found no worker within 20 s",
            "save result 2.5 found no worker within 20 s",
            "save progress 2 pending",
        ]
    );
}

#[test]
fn who_waits_again_may_wait_as_long_again() {
    let (mut world, a) = world();
    let policy = RunPolicy { queue_time_limit: Some(Span::seconds(50)), ..RunPolicy::default() };
    let (_, effects) = submit(&mut world, 1, policy);
    world.started(&a, only(&effects));
    world.disconnect(&a);
    // Somebody could take it, who has other things to do.
    let (b, _) = world.connect("b", 1, vec![]);
    world.submit(1, 1);
    pass(&mut world, &[&b], 45 * SECOND);
    assert_eq!(brief(&pass(&mut world, &[&b], 49 * SECOND)), Vec::<String>::new());
    assert_eq!(
        brief(&pass(&mut world, &[&b], SECOND)),
        ["save result 2.0 found no worker within 50 s", "save progress 2 failed, over"]
    );
}

#[test]
fn what_is_kept_for_a_worker_that_is_away_waits_for_it_no_longer_than_for_any() {
    let policy = RunPolicy { queue_time_limit: Some(Span::seconds(50)), ..RunPolicy::default() };
    let lost = |world: &mut World, a: &Link| {
        let key = only(&submit(world, 1, policy.clone()).1);
        world.started(a, key);
        world.disconnect(a);
        assert_eq!(brief(&world.pass(45 * SECOND)), ["save progress 2 running"]);
        key
    };
    let (mut late, a) = world();
    lost(&mut late, &a);
    assert_eq!(brief(&late.pass(49 * SECOND)), Vec::<String>::new());
    assert_eq!(
        brief(&late.pass(SECOND)),
        [
            "save attempt 2.0#1 on a Ended worker lost: a was not heard of for longer than its lease",
            "save result 2.0 found no worker within 50 s",
            "save progress 2 failed, over",
        ]
    );
    let (mut in_time, a) = world();
    let key = lost(&mut in_time, &a);
    in_time.pass(49 * SECOND);
    let (a, _) = in_time.connect("a", 4, vec![Held { key, phase: Phase::Running }]);
    assert_eq!(brief(&pass(&mut in_time, &[&a], 100 * SECOND)), Vec::<String>::new());
}

#[test]
fn the_master_ends_a_run_whose_worker_does_not() {
    let (mut world, a) = world();
    let policy =
        RunPolicy { time_limit: Some(Span::seconds(100)), stop_grace: Some(Span::seconds(5)), ..RunPolicy::default() };
    let (_, effects) = submit(&mut world, 1, policy);
    let order = assigned(&effects).remove(0).1;
    assert_eq!((order.time_limit, order.stop_grace), (Some(100 * SECOND), 5 * SECOND));
    world.started(&a, order.key);
    assert_eq!(brief(&pass(&mut world, &[&a], 134 * SECOND)), Vec::<String>::new(), "the worker knows the limit");
    let effects = pass(&mut world, &[&a], SECOND);
    let limit = effects.iter().find_map(|effect| match effect {
        Effect::Send(_, ToWorker::Cancel(orders)) => orders[0].time_limit,
        _ => None,
    });
    assert_eq!(limit, Some(100 * SECOND), "{effects:?}");
    assert!(world.cluster.is_stopping(order.key));
    assert_eq!(brief(&pass(&mut world, &[&a], 35 * SECOND)), ["s2 cancel 2.0#1"], "it is told again");
    // A worker of the first generation cannot say more than that it stopped it.
    let effects = world.finished(&a, order.key, Verdict::Cancelled);
    assert!(brief(&effects).contains(&"save result 2.0 timed out after 100 s".to_owned()), "{effects:?}");
}

#[test]
fn a_person_who_cancels_is_not_the_time_limit() {
    let (mut world, a) = world();
    let policy = RunPolicy { time_limit: Some(Span::seconds(100)), ..RunPolicy::default() };
    let (task, effects) = submit(&mut world, 1, policy);
    world.cancel(task.into()).0.expect("cancelled");
    let effects = world.finished(&a, only(&effects), Verdict::Cancelled);
    assert!(brief(&effects).contains(&"save result 2.0 cancelled".to_owned()), "{effects:?}");
}

fn once() -> RunPolicy {
    RunPolicy { at_most_once: true, ..RunPolicy::default() }
}

#[test]
fn what_may_run_once_waits_for_its_worker() {
    let (mut world, a) = world();
    let (task, effects) = submit(&mut world, 1, once());
    let key = only(&effects);
    assert!(assigned(&effects)[0].1.at_most_once);
    world.started(&a, key);
    world.disconnect(&a);
    let (b, _) = world.connect("b", 4, vec![]);
    let effects = pass(&mut world, &[&b], 600 * SECOND);
    assert_eq!(assigned(&effects), []);
    assert_eq!(brief(&effects), ["save progress 2 running"]);
    let why = world.cluster.why(task.into()).expect("it is held");
    assert_eq!(why.reasons[0].code, "unreachable");
    let (a, effects) = world.connect("a", 4, vec![Held { key, phase: Phase::Running }]);
    assert_eq!(brief(&effects), ["save worker a", "s4 welcome Keep 2.0#1", "save progress 2 running"]);
    assert_eq!(world.cluster.why(task.into()).expect("it is held").reasons[0].code, "running");
    let effects = world.finished(&a, key, Verdict::Success);
    assert!(brief(&effects).contains(&"save result 2.0 success".to_owned()), "{effects:?}");
}

#[test]
fn what_may_run_once_and_is_lost_is_not_run_again() {
    let (mut world, a) = world();
    let (_, effects) = submit(&mut world, 1, once());
    let key = only(&effects);
    world.started(&a, key);
    let effects = world.finished(&a, key, Verdict::WorkerLost { message: "stopped".to_owned() });
    assert!(brief(&effects).contains(&"save result 2.0 worker lost: stopped".to_owned()), "{effects:?}");
}

#[test]
fn what_may_run_once_and_was_refused_has_not_run() {
    let (mut world, a) = world();
    let (_, effects) = submit(&mut world, 1, once());
    world.finished(&a, only(&effects), Verdict::Rejected { message: "full".to_owned() });
    only(&pass(&mut world, &[&a], 10 * SECOND));
}

#[test]
fn force_ends_it_without_its_worker_which_stops_it_when_it_is_back() {
    let (mut world, a) = world();
    let (task, effects) = submit(&mut world, 1, once());
    let key = only(&effects);
    world.started(&a, key);
    world.disconnect(&a);
    world.pass(600 * SECOND);
    let (answer, effects) = world.force_cancel(task.into());
    assert!(matches!(answer, Ok(Answer::Cancelled(view)) if !view.cancelling));
    assert!(brief(&effects).contains(&"save result 2.0 cancelled".to_owned()), "{effects:?}");
    let (_, effects) = world.connect("a", 4, vec![Held { key, phase: Phase::Running }]);
    assert!(brief(&effects).contains(&"s3 welcome Stop 2.0#1".to_owned()), "{effects:?}");
}

#[test]
fn a_worker_where_all_fails_at_once_is_left_out_while_others_do_well() {
    let mut world = World::default();
    let (b, _) = world.connect("b", 1, vec![]);
    let (_, effects) = world.submit(1, 1);
    let good = only(&effects);
    let (a, _) = world.connect("a", 1, vec![]);
    let mut keys = Vec::new();
    for round in 0..10 {
        let (_, effects) = world.submit(1, 1);
        let key = only(&effects);
        if round == 5 {
            world.finished(&b, good, Verdict::Success);
            // What was free meanwhile is full again.
            world.submit(1, 1);
        }
        world.finished(&a, key, Verdict::Setup { message: "no device".to_owned() });
        keys.push(key);
    }
    let (task, effects) = world.submit(1, 1);
    assert_eq!(assigned(&effects), []);
    let codes: Vec<_> =
        world.cluster.why(task.into()).expect("it waits").reasons.into_iter().map(|reason| reason.code).collect();
    assert_eq!(codes, ["insufficient_cpu", "worker_failing"]);
    let view = world.cluster.worker_view(&a.worker).expect("it is there");
    assert!(view.problem.expect("it is said").contains("10 runs"));
    let effects = pass(&mut world, &[&a, &b], 300 * SECOND);
    assert_eq!(only(&effects).task, task, "it gets another chance");
}

#[test]
fn all_runs_of_a_task_have_the_image_that_the_first_one_had() {
    use cloudaid_core::input::Input;
    use shared::link::{AttemptChange, Report};
    use shared::pull::PullPolicy;
    let images = |pull| {
        let mut world = World::default();
        let (a, _) = world.connect("a", 1, vec![]);
        let mut submission = world.submission(1, 1);
        let array = Some(Arc::new("0-2".parse().expect("an array")));
        submission.spec = Arc::new(TaskSpec { image: "trainer:7".into(), pull, ..cloudaid_core::testkit::spec(1) });
        submission.array = array;
        let (_, effects) = world.ask(|request| Input::SubmitTask { request, submission, known: None });
        let mut images = Vec::new();
        let mut next = assigned(&effects).remove(0).1;
        for (sequence, content) in (1..).zip(["trainer@sha256:1", "trainer@sha256:2"]) {
            images.push(next.image.clone());
            let change =
                AttemptChange::Started { at: world.now.wall, container: "c".into(), image: Some(content.into()) };
            let reports = vec![Report { sequence: 2 * sequence - 1, key: next.key, change }];
            world.step(Input::WorkerReported { worker: a.worker.clone(), session: a.session, reports });
            world.restart();
            let (again, _) = world.connect("a", 1, vec![Held { key: next.key, phase: Phase::Running }]);
            let effects = world.finished(&again, next.key, Verdict::Success);
            next = assigned(&effects).remove(0).1;
        }
        images.push(next.image);
        images
    };
    assert_eq!(images(PullPolicy::Missing), ["trainer:7", "trainer@sha256:1", "trainer@sha256:1"]);
    assert_eq!(images(PullPolicy::Always), ["trainer:7", "trainer@sha256:1", "trainer@sha256:1"]);
    assert_eq!(images(PullPolicy::Never), ["trainer:7"; 3]);
}
