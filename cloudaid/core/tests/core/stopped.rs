//! The end of a run that its worker was told to stop, reported by a worker that has lost its journal and does not know that, or
//! by one that has it and knows better.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::agent::{
    Agent, AgentEffect, AgentInput, ContainerState, Ended, FoundContainer, JournalEntry, JournalRecord, LogBytes,
};
use cloudaid_core::input::{Input, Submission};
use cloudaid_core::testkit::{Link, World, assigned};
use shared::id::AttemptKey;
use shared::link::{Assignment, AttemptChange, Held, Outcome, Phase};
use shared::policy::RunPolicy;
use shared::span::Span;
use shared::task::{TaskSpec, Verdict};
use shared::time::WallTime;
use shared::worker::Cordon;

const SECOND: Duration = Duration::from_secs(1);

/// Exit codes, whether the engine remembers that it was asked for that signal, and whether that is how a stop ends a run.
const ENDS: [(i32, bool, bool); 9] = [
    (143, false, true),
    (143, true, true),
    (137, false, true),
    (137, true, true),
    // QUIT, which some images want.
    (131, true, true),
    (131, false, false),
    (139, false, false),
    (1, false, false),
    (0, false, false),
];

/// A run with this policy on a worker `a`.
fn running(policy: RunPolicy) -> (World, Link, AttemptKey) {
    let (world, a, assignment) = assigned_with(policy);
    (world, a, assignment.key)
}

/// The same, as its worker was given it.
fn assigned_with(policy: RunPolicy) -> (World, Link, Assignment) {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let submission = world.submission(1, 1);
    let spec = Arc::new(TaskSpec { policy, ..(*submission.spec).clone() });
    let (_, effects) = world.submit_this(Submission { spec, ..submission });
    let (_, assignment) = assigned(&effects).remove(0);
    world.started(&a, assignment.key);
    (world, a, assignment)
}

/// The journal of a worker that has started it now.
fn journal_of(world: &World, assignment: Assignment) -> Vec<JournalEntry> {
    let (key, at, boot) = (assignment.key, world.now.wall, Some(world.now.boot));
    let mut entries = BTreeMap::new();
    for record in
        [JournalRecord::Accepted(Arc::new(assignment)), JournalRecord::Starting { key, at, boot, again: false }]
    {
        record.apply(&mut entries);
    }
    entries.into_values().collect()
}

/// What a worker with that journal says of a container that has ended so.
fn outcome(world: &World, key: AttemptKey, journal: Vec<JournalEntry>, ended: Ended) -> Outcome {
    let (mut agent, mut effects) = (Agent::new(), Vec::new());
    let found = Some(vec![FoundContainer { key, state: ContainerState::Exited, limits: None }]);
    for input in [
        AgentInput::Recovered { journal, found, lease: None },
        AgentInput::Exited(key, ended),
        AgentInput::LogsDrained(key, LogBytes::default()),
        AgentInput::OutputsUploaded { key, files: 0, bytes: 0, notes: Vec::new() },
    ] {
        agent.step(world.now, input, &mut effects);
    }
    let outcome = effects.into_iter().find_map(|effect| match effect {
        AgentEffect::Journal(JournalRecord::Finished { outcome, .. }) => Some(outcome),
        _ => None,
    });
    outcome.expect("it says how it ended")
}

fn ended(code: i32, by_hand: bool) -> Ended {
    Ended {
        code,
        oom: false,
        by_engine: false,
        killed: None,
        by_hand: by_hand.then_some(code - 128),
        runs_again: false,
        memory_peak: None,
        started_at: None,
        finished_at: None,
        usage: None,
    }
}

/// The worker is back without its journal, and says how the run ended. Returns that, and what became of the run.
fn report(world: &mut World, link: &Link, key: AttemptKey, ended: Ended) -> (Verdict, Verdict) {
    report_with(world, link, key, Vec::new(), ended)
}

/// The same with this journal.
fn report_with(
    world: &mut World,
    link: &Link,
    key: AttemptKey,
    journal: Vec<JournalEntry>,
    ended: Ended,
) -> (Verdict, Verdict) {
    world.disconnect(link);
    let (link, _) = world.connect("a", 4, vec![Held { key, phase: Phase::Running }]);
    let outcome = outcome(world, key, journal, ended);
    let said = outcome.verdict.clone();
    world.report(&link, key, AttemptChange::Finished(outcome));
    let recorded = world.saved.attempts[&(key.task, key.index, key.attempt)].verdict.clone();
    (said, recorded.expect("it has ended"))
}

#[test]
fn what_a_person_wanted_cancelled_is_cancelled() {
    for (code, by_hand, is_stop) in ENDS {
        let (mut world, a, key) = running(RunPolicy { retries: 3, ..RunPolicy::default() });
        world.cancel(key.task.into()).0.expect("accepted");
        let (said, recorded) = report(&mut world, &a, key, ended(code, by_hand));
        let expected = if is_stop { Verdict::Cancelled } else { said };
        assert_eq!(recorded, expected, "{code} {by_hand}");
        assert_eq!(world.saved.results[&(key.task, 0)].verdict, expected, "{code} {by_hand}");
    }
}

#[test]
fn what_nobody_wanted_stopped_was_not_stopped() {
    for (code, by_hand, _) in ENDS {
        let (mut world, a, key) = running(RunPolicy::default());
        let (said, recorded) = report(&mut world, &a, key, ended(code, by_hand));
        assert_eq!(recorded, said, "{code} {by_hand}");
    }
}

/// Its worker is drained, and the time for that is over.
fn drain(world: &mut World, link: &Link) {
    let since = world.now.wall;
    let by = "ada".parse().expect("a name");
    let cordon = Some(Cordon { since, by, reason: None, draining: true, deadline: Some(since) });
    let worker = link.worker.clone();
    world.ask(|request| Input::CordonWorker { request, worker, cordon }).0.expect("drained");
    world.pass(SECOND);
}

#[test]
fn what_was_to_leave_a_drained_worker_runs_elsewhere() {
    for (code, by_hand, is_stop) in ENDS {
        let (mut world, a, key) = running(RunPolicy::default());
        drain(&mut world, &a);
        assert!(world.cluster.is_stopping(key));
        let (said, recorded) = report(&mut world, &a, key, ended(code, by_hand));
        let drained = Verdict::WorkerLost { message: "a was drained".to_owned() };
        assert_eq!(recorded, if is_stop { drained } else { said }, "{code} {by_hand}");
        assert_eq!(world.cluster.is_open(key.task.into()), is_stop, "{code} {by_hand}");
    }
}

fn limited() -> RunPolicy {
    RunPolicy { time_limit: Some(Span::seconds(100)), ..RunPolicy::default() }
}

#[test]
fn what_the_master_told_to_stop_for_its_time_limit_has_timed_out() {
    for (code, by_hand, is_stop) in ENDS {
        let (mut world, a, key) = running(limited());
        for _ in 0..160 {
            world.pass(SECOND);
            world.heard(&a);
        }
        assert!(world.cluster.is_stopping(key));
        let (said, recorded) = report(&mut world, &a, key, ended(code, by_hand));
        let late = Verdict::Timeout { limit_seconds: 100, exit_code: Some(code) };
        assert_eq!(recorded, if is_stop { late } else { said }, "{code} {by_hand}");
    }
}

#[test]
fn what_ran_as_long_as_it_may_was_stopped_by_its_worker_alone() {
    for (code, by_hand, is_stop) in ENDS {
        for (seconds, is_late) in [(99, false), (100, true)] {
            let (mut world, a, key) = running(limited());
            let finished = world.now.wall;
            let started_at = Some(WallTime(finished.0 - seconds * 1000));
            let ended = Ended { started_at, finished_at: Some(finished), ..ended(code, by_hand) };
            let (said, recorded) = report(&mut world, &a, key, ended);
            let late = Verdict::Timeout { limit_seconds: 100, exit_code: Some(code) };
            assert_eq!(recorded, if is_stop && is_late { late } else { said }, "{code} {by_hand} after {seconds} s");
        }
    }
}

#[test]
fn a_person_who_cancels_comes_before_the_time_limit() {
    let (mut world, a, key) = running(limited());
    for _ in 0..160 {
        world.pass(SECOND);
        world.heard(&a);
    }
    world.cancel(key.task.into()).0.expect("accepted");
    assert_eq!(report(&mut world, &a, key, ended(143, false)).1, Verdict::Cancelled);
}

/// It had ended before it was told to be stopped, and its log and its outputs have taken a while.
#[test]
fn what_a_worker_with_its_journal_says_stays_when_it_is_drained_meanwhile() {
    for (code, by_hand, _) in ENDS {
        let (mut world, a, assignment) = assigned_with(RunPolicy::default());
        let (key, journal) = (assignment.key, journal_of(&world, assignment));
        drain(&mut world, &a);
        assert!(world.cluster.is_stopping(key));
        let (said, recorded) = report_with(&mut world, &a, key, journal, ended(code, by_hand));
        assert_eq!(recorded, said, "{code} {by_hand}");
        assert!(!world.cluster.is_open(key.task.into()), "its own end costs it its run: {code} {by_hand}");
        assert_eq!(world.saved.results[&(key.task, 0)].verdict, said, "{code} {by_hand}");
    }
}

#[test]
fn what_a_worker_with_its_journal_says_stays_when_a_person_cancels_it_meanwhile() {
    for (code, by_hand, _) in ENDS {
        let (mut world, a, assignment) = assigned_with(RunPolicy { retries: 3, ..RunPolicy::default() });
        let (key, journal) = (assignment.key, journal_of(&world, assignment));
        world.cancel(key.task.into()).0.expect("accepted");
        let (said, recorded) = report_with(&mut world, &a, key, journal, ended(code, by_hand));
        assert_eq!(recorded, said, "{code} {by_hand}");
        assert_eq!(world.saved.results[&(key.task, 0)].verdict, said, "{code} {by_hand}");
    }
}

#[test]
fn what_a_worker_with_its_journal_says_stays_when_it_is_heard_of_after_the_time_limit() {
    for (code, by_hand, _) in ENDS {
        let (mut world, a, assignment) = assigned_with(limited());
        let (key, journal) = (assignment.key, journal_of(&world, assignment));
        let started_at = Some(world.now.wall);
        for _ in 0..160 {
            world.pass(SECOND);
            world.heard(&a);
        }
        assert!(world.cluster.is_stopping(key));
        let finished_at = started_at.map(|at| WallTime(at.0 + 50_000));
        let ended = Ended { started_at, finished_at, ..ended(code, by_hand) };
        let (said, recorded) = report_with(&mut world, &a, key, journal, ended);
        assert!(!matches!(said, Verdict::Timeout { .. }), "{said}");
        assert_eq!(recorded, said, "{code} {by_hand}");
    }
}
