//! Arrays of which most fail in the same way go on one element at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use cloudaid_core::effect::Effect;
use cloudaid_core::input::Submission;
use cloudaid_core::testkit::{Link, World, assigned};
use shared::id::{AttemptKey, Elements, TaskId, TaskRef};
use shared::link::{Held, Phase};
use shared::policy::RunPolicy;
use shared::task::{TaskSpec, Verdict};

/// An array and the one worker that runs it, four elements at a time.
struct Scene {
    world: World,
    worker: Link,
    task: TaskId,
    /// What the worker has, the oldest first.
    held: VecDeque<AttemptKey>,
}

impl Scene {
    fn new(policy: RunPolicy) -> Self {
        let mut world = World::default();
        let (worker, _) = world.connect("a", 4, vec![]);
        let submission = world.submission(1, 1000);
        let spec = Arc::new(TaskSpec { policy, ..(*submission.spec).clone() });
        let (task, effects) = world.submit_this(Submission { spec, ..submission });
        let held: VecDeque<_> = assigned(&effects).into_iter().map(|(_, order)| order.key).collect();
        assert_eq!(held.len(), 4);
        Self { world, worker, task, held }
    }

    /// What it has had for longest ends. Returns how many are placed then.
    fn end(&mut self, verdict: Verdict) -> usize {
        let key = self.held.pop_front().expect("it has one");
        let effects = self.world.finished(&self.worker, key, verdict);
        let placed = assigned(&effects);
        self.held.extend(placed.iter().map(|(_, order)| order.key));
        placed.len()
    }

    /// Nine that fail after each that goes well, the first nine first: whether each makes room for the next.
    fn end_now_and_then(&mut self, ends: std::ops::RangeInclusive<u32>) {
        for n in ends {
            let verdict = if n.is_multiple_of(10) { Verdict::Success } else { failed() };
            assert_eq!(self.end(verdict), 1, "end {n}");
        }
    }

    /// Ends what was there when it became suspicious, so that one is tried alone.
    fn end_all_but_one_that_is_tried(&mut self) {
        while self.held.len() > 1 {
            assert_eq!(self.end(failed()), 0);
        }
        assert_eq!(self.end(failed()), 1);
    }

    /// The master starts again, and its worker is back with all that it has.
    fn restart(&mut self) -> usize {
        let held = |key: &AttemptKey| Held { key: *key, phase: Phase::Accepted };
        let inventory = self.held.iter().map(held).collect();
        self.world.restart();
        let (worker, effects) = self.world.connect("a", 4, inventory);
        self.worker = worker;
        let placed = assigned(&effects);
        self.held.extend(placed.iter().map(|(_, order)| order.key));
        placed.len()
    }

    fn why(&self) -> (String, String) {
        let reason = self.world.cluster.why(self.task.into()).expect("it waits").reasons.remove(0);
        (reason.code, reason.message)
    }
}

fn failed() -> Verdict {
    Verdict::ExitCode { exit_code: 3 }
}

fn suspicious(runs: &str) -> (String, String) {
    let message = format!("{runs} failed in the same way, so one at a time is tried until one does not");
    ("array_suspicious".to_owned(), message)
}

#[test]
fn elements_that_fail_alike_are_tried_one_at_a_time_until_one_does_not() {
    let mut scene = Scene::new(RunPolicy::default());
    for _ in 0..9 {
        assert_eq!(scene.end(failed()), 1);
    }
    assert_eq!(scene.end(failed()), 0, "ten have failed: no more are placed beside those that are there");
    assert_eq!(scene.why(), suspicious("its last 10 runs"));
    scene.end_all_but_one_that_is_tried();
    assert_eq!(scene.end(Verdict::Success), 4);
}

#[test]
fn an_element_that_goes_well_now_and_then_does_not_hide_that_most_fail() {
    let mut scene = Scene::new(RunPolicy::default());
    scene.end_now_and_then(1..=25);
    assert_eq!(scene.end(failed()), 0);
    assert_eq!(scene.why(), suspicious("24 of its last 26 runs"));
    assert_eq!(scene.end(Verdict::Success), 0, "it is one of those that were there, and most still fail");
    scene.end_all_but_one_that_is_tried();
    assert_eq!(scene.end(Verdict::Success), 4, "one that was tried does not");
    scene.end_now_and_then(1..=25);
    assert_eq!(scene.end(failed()), 0, "it was counted anew");
}

#[test]
fn failures_of_two_kinds_are_not_alike() {
    let mut scene = Scene::new(RunPolicy::default());
    for n in 0..60 {
        assert_eq!(scene.end(Verdict::ExitCode { exit_code: 3 + n % 2 }), 1);
    }
}

#[test]
fn a_restart_of_the_master_forgets_nothing_of_it() {
    let mut scene = Scene::new(RunPolicy::default());
    scene.end_now_and_then(1..=25);
    assert_eq!(scene.restart(), 0, "it has four");
    assert_eq!(scene.end(failed()), 0);
    assert_eq!(scene.why(), suspicious("24 of its last 26 runs"));
    assert_eq!(scene.restart(), 0, "it has three");
    assert_eq!(scene.why(), suspicious("24 of its last 26 runs"));
    scene.end_all_but_one_that_is_tried();
    assert_eq!(scene.restart(), 0, "it has the one that is tried");
    assert_eq!(scene.end(Verdict::Success), 4);
}

#[test]
fn a_failure_after_which_an_element_runs_again_counts_too() {
    let mut scene = Scene::new(RunPolicy { retries: 1, ..RunPolicy::default() });
    for _ in 0..9 {
        assert_eq!(scene.end(failed()), 1);
    }
    assert_eq!(scene.end(failed()), 0, "all of a thousand would run once before the first of them is over");
}

#[test]
fn what_a_task_says_that_it_ends_with_now_and_then_is_no_trouble() {
    let retry_on = vec!["exit:3".parse().expect("a failure")];
    let mut scene = Scene::new(RunPolicy { retries: 1, retry_on, ..RunPolicy::default() });
    for _ in 0..40 {
        assert_eq!(scene.end(failed()), 1);
    }
}

#[test]
fn lost_workers_make_no_array_suspicious() {
    let mut scene = Scene::new(RunPolicy::default());
    for _ in 0..40 {
        assert_eq!(scene.end(Verdict::WorkerLost { message: "the engine has crashed".to_owned() }), 1);
    }
}

#[test]
fn one_that_somebody_cancels_shows_nothing_of_the_others() {
    let mut scene = Scene::new(RunPolicy::default());
    for _ in 0..10 {
        scene.end(failed());
    }
    scene.end_all_but_one_that_is_tried();
    let (answer, _) = scene.world.cancel(TaskRef { task: scene.task, elements: Elements::One(scene.held[0].index) });
    answer.expect("it is told to stop");
    assert_eq!(scene.end(Verdict::Cancelled), 1, "the next one is tried");
}

#[test]
fn what_is_over_keeps_nothing_of_it() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (task, effects) = world.submit(1, 4);
    for (n, (_, order)) in assigned(&effects).into_iter().enumerate() {
        let recent = &world.saved.tasks[&task].1.recent;
        assert_eq!(recent.is_empty(), n == 0, "it is kept while any of its elements is not over");
        world.finished(&a, order.key, failed());
    }
    assert!(world.saved.tasks[&task].1.recent.is_empty());
}

/// What was placed goes to `b`, which is the second, or to the other.
fn give(held: &mut [VecDeque<AttemptKey>; 2], b: &Link, effects: &[Effect]) {
    for (session, order) in assigned(effects) {
        held[usize::from(session == b.session)].push_back(order.key);
    }
}

#[test]
fn what_one_worker_ruins_is_not_held_against_the_array() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (b, _) = world.connect("b", 4, vec![]);
    let (task, effects) = world.submit(1, 100);
    let mut held = [VecDeque::new(), VecDeque::new()];
    give(&mut held, &b, &effects);
    let mut end = |world: &mut World, verdict: Verdict, times: usize| {
        let (link, at) = if verdict == Verdict::Success { (&b, 1) } else { (&a, 0) };
        for _ in 0..times {
            let key = held[at].pop_front().expect("it has one");
            let effects = world.finished(link, key, verdict.clone());
            give(&mut held, &b, &effects);
        }
    };
    end(&mut world, Verdict::Success, 10);
    end(&mut world, failed(), 9);
    assert!(!world.saved.tasks[&task].1.recent.is_empty());
    end(&mut world, failed(), 1);
    assert!(world.cluster.worker_view(&a.worker).expect("it is there").problem.is_some(), "it is left out");
    // What was there already fails too.
    end(&mut world, failed(), 3);
    assert!(world.saved.tasks[&task].1.recent.is_empty());
    let codes: Vec<_> =
        world.cluster.why(task.into()).expect("it waits").reasons.into_iter().map(|reason| reason.code).collect();
    assert_eq!(codes, ["insufficient_cpu", "worker_failing"], "it waits for room at the other");
}
