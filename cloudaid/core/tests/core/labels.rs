//! Tasks that ask for labels of their workers.

use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::effect::Effect;
use cloudaid_core::input::Submission;
use cloudaid_core::testkit::{Link, World, assigned, brief};
use cloudaid_core::trial::Trial;
use shared::array::Array;
use shared::feature::Features;
use shared::id::{AttemptKey, TaskId};
use shared::link::{Held, Phase};
use shared::selector::WorkerSelector;
use shared::task::{TaskSpec, Verdict};
use shared::view::{Fit, WhyView};
use shared::worker::WorkerFacts;

fn asking(wishes: &[&str]) -> WorkerSelector {
    WorkerSelector::new(wishes.iter().map(|wish| wish.parse().expect("a wish")).collect()).expect("wishes")
}

/// A worker with 4 cores and these labels, as `name=value`, connects, holding `inventory`.
fn connect_holding(world: &mut World, name: &str, labels: &[&str], inventory: Vec<Held>) -> (Link, Vec<Effect>) {
    let pair = |label: &&str| {
        let (name, value) = label.split_once('=').expect("a label");
        (name.to_owned(), value.to_owned())
    };
    let labels = Arc::new(labels.iter().map(pair).collect());
    let facts = WorkerFacts { capacity: World::capacity(4), labels, features: Features::ALL, ..WorkerFacts::default() };
    world.connect_as(name, facts, inventory)
}

fn connect(world: &mut World, name: &str, labels: &[&str]) -> (Link, Vec<Effect>) {
    connect_holding(world, name, labels, vec![])
}

fn submission(world: &mut World, wishes: &[&str], change: impl FnOnce(&mut TaskSpec)) -> Submission {
    let submission = world.submission(1, 1);
    let mut spec = TaskSpec { worker_labels: asking(wishes), ..(*submission.spec).clone() };
    change(&mut spec);
    Submission { spec: Arc::new(spec), ..submission }
}

fn submit(world: &mut World, wishes: &[&str]) -> (TaskId, Vec<Effect>) {
    let submission = submission(world, wishes, |_| ());
    world.submit_this(submission)
}

fn why(world: &World, task: TaskId) -> WhyView {
    world.cluster.why(task.into()).expect("it is there")
}

fn only_key(effects: &[Effect], link: &Link) -> AttemptKey {
    let runs = assigned(effects);
    assert_eq!(runs.iter().map(|(session, _)| *session).collect::<Vec<_>>(), [link.session], "{effects:?}");
    runs[0].1.key
}

#[test]
fn a_task_runs_where_all_that_it_asks_for_holds() {
    let mut world = World::default();
    let (a, _) = connect(&mut world, "a", &["disk=hdd", "zone=a"]);
    let (b, _) = connect(&mut world, "b", &["disk=ssd", "zone=b"]);
    let (c, _) = connect(&mut world, "c", &[]);
    for (wishes, link) in [
        (&["disk=ssd"][..], &b),
        (&["disk", "zone!=b"][..], &a),
        (&["disk!=ssd", "disk!=hdd"][..], &c),
        (&["zone=b", "disk", "disk!=hdd"][..], &b),
        (&["zone!=a", "zone!=b"][..], &c),
    ] {
        let (_, effects) = submit(&mut world, wishes);
        only_key(&effects, link);
    }
}

#[test]
fn elements_are_spread_over_those_who_have_the_label_and_the_rest_wait_for_them() {
    let mut world = World::default();
    connect(&mut world, "a", &[]);
    let (b, _) = connect(&mut world, "b", &["gpu=h100"]);
    let (c, _) = connect(&mut world, "c", &["gpu=a100"]);
    let submission = submission(&mut world, &["gpu"], |_| ());
    let (task, effects) = world.submit_this(Submission { array: Some(Arc::new(Array::of(9))), ..submission });
    let sessions: Vec<_> = assigned(&effects).iter().map(|(session, _)| *session).collect();
    assert_eq!(sessions, [[b.session; 4], [c.session; 4]].concat());
    let why = why(&world, task);
    let reasons: Vec<_> = why.reasons.iter().map(|reason| (reason.code.as_str(), reason.workers)).collect();
    assert_eq!((reasons, why.can_never_run), (vec![("insufficient_cpu", 2), ("other_labels", 1)], false));
    let keys: Vec<_> = assigned(&effects).into_iter().map(|(_, run)| run.key).collect();
    let effects = world.finished(&c, keys[4], Verdict::Success);
    only_key(&effects, &c);
}

#[test]
fn who_asks_why_is_told_the_label_that_nobody_has() {
    let mut world = World::default();
    connect(&mut world, "a", &["disk=hdd", "zone=a"]);
    let says = |world: &mut World, wishes: &[&str]| {
        let (task, effects) = submit(world, wishes);
        assert_eq!(assigned(&effects), []);
        let why = why(world, task);
        assert!(why.can_never_run && why.hint.contains("cloudaid worker --label"), "{why:?}");
        assert_eq!((why.reasons.len(), why.reasons[0].code.as_str()), (1, "other_labels"));
        let row = world.cluster.queue_view(99).tasks.pop().expect("it is the last");
        assert_eq!((row.task_id, &row.reason), (task.to_string(), &why.reasons[0].message));
        format!("{}: {}", why.reasons[0].workers, why.reasons[0].message)
    };
    assert_eq!(says(&mut world, &["disk=ssd"]), "1: no worker has the label disk=ssd");
    assert_eq!(says(&mut world, &["gpu"]), "1: no worker has the label gpu");
    assert_eq!(says(&mut world, &["zone!=a"]), "1: every worker has the label zone=a");
    let both = "1: no worker has the label disk=ssd and every worker has the label zone=a";
    assert_eq!(says(&mut world, &["disk=ssd", "zone!=a"]), both);
    // Each is there, but not together.
    connect(&mut world, "b", &["disk=ssd", "zone=b"]);
    assert_eq!(says(&mut world, &["disk=ssd", "zone=a"]), "2: 2 workers have other labels than it asks for");
    assert_eq!(says(&mut world, &["disk=ssd", "gpu"]), "2: no worker has the label gpu");
}

#[test]
fn the_submitter_is_told_at_once_and_a_trial_says_it_of_each_worker() {
    let mut world = World::default();
    connect(&mut world, "a", &["disk=ssd"]);
    connect(&mut world, "b", &["disk=hdd"]);
    let told = |world: &World, submission: &Submission| {
        let tried = world.cluster.trial(submission, None).expect("a trial");
        (tried.workers.into_iter().map(|fit| (fit.fit, fit.reasons.join("; "))).collect::<Vec<_>>(), tried.warnings)
    };
    let some = submission(&mut world, &["disk!=hdd", "disk"], |_| ());
    let expected = vec![(Fit::Now, String::new()), (Fit::Never, "b has the label disk=hdd".to_owned())];
    assert_eq!(told(&world, &some), (expected, vec![]));
    let none = submission(&mut world, &["gpu", "disk!=hdd"], |_| ());
    let (fits, warnings) = told(&world, &none);
    let reasons: Vec<_> = fits.iter().map(|(_, reasons)| reasons.as_str()).collect();
    assert_eq!(reasons, ["a does not have the label gpu", "b has the label disk=hdd and does not have the label gpu"]);
    assert_eq!(warnings, ["can never run on the present workers: no worker has the label gpu"]);
}

#[test]
fn a_dispatch_to_a_worker_with_other_labels_is_placed_nowhere_and_says_so_at_once() {
    let mut world = World::default();
    connect(&mut world, "a", &["disk=hdd"]);
    connect(&mut world, "b", &["disk=ssd"]);
    let dispatched = submission(&mut world, &["disk=ssd"], |spec| spec.worker = "a".parse().ok());
    let Trial { workers, warnings, .. } = world.cluster.trial(&dispatched, None).expect("a trial");
    assert_eq!(workers.iter().map(|fit| fit.fit).collect::<Vec<_>>(), [Fit::Never, Fit::Never]);
    let lacks = "a does not have the label disk=ssd";
    assert!(warnings.len() == 1 && warnings[0].contains(lacks), "{warnings:?}");
    // As where it is too small for it: its labels may change, as what it has may.
    let (task, effects) = world.submit_this(dispatched);
    assert_eq!(assigned(&effects), []);
    let reason = why(&world, task);
    assert!(reason.can_never_run && reason.summary.contains(lacks), "{reason:?}");
    assert!(reason.hint.contains("cloudaid worker --label"), "{reason:?}");
    let (a, effects) = connect(&mut world, "a", &["disk=ssd"]);
    only_key(&effects, &a);
}

#[test]
fn what_waits_is_judged_anew_when_a_worker_comes_back_with_other_labels_and_what_runs_goes_on() {
    let mut world = World::default();
    let (a, _) = connect(&mut world, "a", &["disk=hdd"]);
    let (_, effects) = submit(&mut world, &["disk=hdd"]);
    let running = only_key(&effects, &a);
    world.started(&a, running);
    let (_, effects) = submit(&mut world, &["disk=ssd"]);
    assert_eq!(assigned(&effects), []);
    let held = vec![Held { key: running, phase: Phase::Running }];
    let (a, effects) = connect_holding(&mut world, "a", &["disk=ssd"], held);
    assert!(brief(&effects).iter().any(|line| line.contains("welcome Keep 2.0#1")), "{effects:?}");
    only_key(&effects, &a);
    let (waits, effects) = submit(&mut world, &["disk=hdd"]);
    assert_eq!(assigned(&effects), []);
    assert_eq!(why(&world, waits).reasons[0].message, "no worker has the label disk=hdd");
    world.finished(&a, running, Verdict::Success);
    assert_eq!(world.saved.results[&(running.task, 0)].verdict, Verdict::Success);
}

#[test]
fn what_never_arrived_goes_elsewhere_when_its_worker_comes_back_with_other_labels() {
    let mut world = World::default();
    let (a, _) = connect(&mut world, "a", &["disk=ssd"]);
    let (_, effects) = submit(&mut world, &["disk=ssd"]);
    let key = only_key(&effects, &a);
    world.disconnect(&a);
    let (_, effects) = connect(&mut world, "a", &["disk=hdd"]);
    assert_eq!(assigned(&effects), []);
    assert!(brief(&effects).iter().any(|line| line.contains("no longer has the labels")), "{effects:?}");
    let (b, _) = connect(&mut world, "b", &["disk=ssd"]);
    let effects = world.pass(Duration::from_secs(60));
    assert_eq!(only_key(&effects, &b).task, key.task);
}

#[test]
fn it_is_asked_for_again_at_each_run_and_after_a_restart() {
    let mut world = World::default();
    let (a, _) = connect(&mut world, "a", &["disk=ssd"]);
    let (b, _) = connect(&mut world, "b", &["disk=ssd"]);
    connect(&mut world, "c", &[]);
    let retried = submission(&mut world, &["disk=ssd"], |spec| spec.policy.retries = 1);
    let (task, effects) = world.submit_this(retried);
    let key = only_key(&effects, &a);
    world.started(&a, key);
    world.finished(&a, key, Verdict::ExitCode { exit_code: 1 });
    let effects = world.pass(Duration::from_secs(11));
    let key = only_key(&effects, &b);
    world.started(&b, key);
    // The worker is lost, and so is the master; of those that come back only one has the label.
    world.restart();
    let (c, _) = connect(&mut world, "c", &[]);
    let (a, mut effects) = connect(&mut world, "a", &["disk=ssd"]);
    for _ in 0..30 {
        assert!(assigned(&effects).iter().all(|(session, _)| *session == a.session), "{effects:?}");
        effects.extend(world.pass(Duration::from_secs(5)));
        effects.extend([&a, &c].into_iter().flat_map(|link| world.heard(link)));
    }
    assert_eq!(only_key(&effects, &a).task, task);
}
