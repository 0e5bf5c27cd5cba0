//! Ends that time brings: the time limit of a run, and the lease of the worker.

use std::collections::BTreeMap;

use shared::link::RunLimits;
use shared::task::StoredPart;

use super::*;

const LIMIT: Duration = Duration::from_secs(60);
/// That of the welcome in these tests.
const LEASE: u64 = 30_000;

fn limited(index: u32) -> Assignment {
    Assignment { time_limit: Some(LIMIT), ..assignment(index) }
}

fn once(index: u32) -> Assignment {
    Assignment { at_most_once: true, ..assignment(index) }
}

fn ordered(key: AttemptKey, reason: StopReason) -> AgentEffect {
    AgentEffect::Journal(JournalRecord::Stopping { key, order: StopOrder { grace: GRACE, reason } })
}

fn largest() -> Vec<StoredPart> {
    vec![StoredPart { path: "/output/large".to_owned(), bytes: 7 }]
}

fn exceeded(index: u32) -> AgentInput {
    AgentInput::StorageExceeded { key: key(index), used_bytes: Some(u64::MAX), largest: largest() }
}

fn run(scene: &mut Scene, assignment: Assignment) {
    let key = assignment.key;
    scene.step(AgentInput::Assigned(vec![assignment]));
    scene.step(AgentInput::ImageReady(key, None));
    scene.step(AgentInput::Created(key));
    scene.step(AgentInput::Started(key));
}

fn verdict_of(effects: &[AgentEffect]) -> Option<Verdict> {
    effects.iter().find_map(|effect| match effect {
        AgentEffect::Journal(JournalRecord::Exited { exited, .. }) => Some(exited.verdict.clone()),
        AgentEffect::Journal(JournalRecord::Finished { outcome, .. }) => Some(outcome.verdict.clone()),
        _ => None,
    })
}

#[test]
fn the_time_limit_counts_from_the_start_and_not_from_the_pull() {
    let mut scene = Scene::connected();
    scene.step(AgentInput::Assigned(vec![limited(0)]));
    scene.now = 500_000;
    scene.step(AgentInput::ImageReady(key(0), None));
    scene.step(AgentInput::Created(key(0)));
    scene.step(AgentInput::Started(key(0)));
    assert_eq!(scene.agent.next_wake(), Some(BootTime(560_000)));
    scene.now = 559_999;
    assert_eq!(scene.step(AgentInput::Tick), []);
    let expected = [ordered(key(0), StopReason::TimeLimit(LIMIT)), AgentEffect::Signal(key(0), StopSignal::Term)];
    assert_eq!(scene.wake(), expected);
    assert_eq!(scene.wake(), [AgentEffect::Signal(key(0), StopSignal::Kill)], "it did not listen");
    assert_eq!(scene.now, 570_000);
    let effects = scene.step(AgentInput::Exited(key(0), exit(137)));
    assert_eq!(verdict_of(&effects), Some(Verdict::Timeout { limit_seconds: 60, exit_code: Some(137) }));
}

#[test]
fn an_end_within_the_grace_of_the_time_limit_is_still_a_timeout() {
    let mut scene = Scene::connected();
    run(&mut scene, limited(0));
    scene.wake();
    let effects = scene.step(AgentInput::Exited(key(0), exit(0)));
    assert_eq!(verdict_of(&effects), Some(Verdict::Timeout { limit_seconds: 60, exit_code: Some(0) }));
}

#[test]
fn the_time_limit_goes_on_over_a_restart() {
    let journal = JournalEntry { assignment: Some(Arc::new(limited(0))), ..entry_started(key(0)) };
    let started = journal.starting.expect("it was started").at.0;
    let mut scene = Scene { now: 50_000, ..Scene::default() };
    let found = vec![FoundContainer { key: key(0), state: ContainerState::Running, limits: None }];
    scene.step(AgentInput::Recovered { journal: vec![journal], found: Some(found), lease: None });
    assert_eq!(scene.agent.next_wake(), Some(BootTime(u64::try_from(started).expect("a time") + 60_000)));
    let expected = [ordered(key(0), StopReason::TimeLimit(LIMIT)), AgentEffect::Signal(key(0), StopSignal::Term)];
    assert_eq!(scene.wake(), expected);
}

#[test]
fn it_goes_by_the_clock_of_the_host_however_the_wall_clock_is_set() {
    let deadline = |boot, now| {
        let assignment = Some(Arc::new(limited(0)));
        let starting = Some(Starting { at: WallTime(40), boot });
        let journal = vec![JournalEntry { assignment, starting, ..entry(key(0)) }];
        let mut scene = Scene { now, ..Scene::default() };
        let found = vec![FoundContainer { key: key(0), state: ContainerState::Running, limits: None }];
        scene.step(AgentInput::Recovered { journal, found: Some(found), lease: None });
        scene.agent.next_wake()
    };
    assert_eq!(deadline(Some(BootTime(20_000)), 50_000), Some(BootTime(80_000)));
    assert_eq!(deadline(Some(BootTime(60_000)), 50_000), Some(BootTime(60_040)), "of another boot");
}

#[test]
fn what_a_container_is_held_to_is_in_its_labels_when_the_journal_is_lost() {
    let recovered = |at_most_once| {
        let mut scene = Scene { now: 50_000, ..Scene::default() };
        let limits =
            RunLimits { storage_bytes: 77, storage_reserved: true, at_most_once, ..RunLimits::of(&limited(0)) };
        let found = vec![FoundContainer { key: key(0), state: ContainerState::Running, limits: Some(limits) }];
        let effects = scene.step(AgentInput::Recovered { journal: vec![], found: Some(found), lease: None });
        assert!(
            effects.contains(&AgentEffect::WatchStorage { key: key(0), limit_bytes: 77, reserved: true }),
            "{effects:?}"
        );
        scene
    };
    // Nobody knows how long it has run: it has the whole time again.
    let mut scene = recovered(false);
    assert_eq!(scene.agent.next_wake(), Some(BootTime(50_000 + 60_000)));
    let expected = [ordered(key(0), StopReason::TimeLimit(LIMIT)), AgentEffect::Signal(key(0), StopSignal::Term)];
    assert_eq!(scene.wake(), expected);
    // And no more than the lease without its master.
    assert!(recovered(true).agent.next_wake() < Some(BootTime(50_000 + 60_000)));
}

#[test]
fn the_master_may_say_that_time_is_up() {
    let mut scene = Scene::connected();
    run(&mut scene, assignment(0));
    scene.step(AgentInput::Cancelled(vec![CancelOrder { key: key(0), grace: GRACE, time_limit: Some(LIMIT) }]));
    let effects = scene.step(AgentInput::Exited(key(0), exit(143)));
    assert_eq!(verdict_of(&effects), Some(Verdict::Timeout { limit_seconds: 60, exit_code: Some(143) }));
}

#[test]
fn what_may_run_once_at_most_ends_with_the_lease_and_nothing_else_does() {
    let mut scene = Scene::connected();
    run(&mut scene, once(0));
    run(&mut scene, assignment(1));
    scene.step(AgentInput::Heard { sent: BootTime(0) });
    scene.step(AgentInput::Disconnected);
    assert_eq!(scene.agent.next_wake(), Some(BootTime(LEASE)));
    let expected = [ordered(key(0), StopReason::Lease), AgentEffect::Signal(key(0), StopSignal::Term)];
    assert_eq!(scene.wake(), expected);
    assert_eq!(scene.now, LEASE);
    let effects = scene.step(AgentInput::Exited(key(0), exit(0)));
    assert!(matches!(verdict_of(&effects), Some(Verdict::WorkerLost { .. })), "{effects:?}");
    assert_eq!(scene.agent.running(), 1);
}

#[test]
fn the_lease_counts_from_when_a_heartbeat_was_sent() {
    let mut scene = Scene::connected();
    run(&mut scene, once(0));
    scene.now = 20_000;
    scene.step(AgentInput::Heard { sent: BootTime(12_000) });
    scene.step(AgentInput::Heard { sent: BootTime(9_000) });
    assert_eq!(scene.agent.next_wake(), Some(BootTime(12_000 + LEASE)));
}

#[test]
fn who_wakes_up_late_stops_it_before_anything_else() {
    let mut scene = Scene::connected();
    run(&mut scene, once(0));
    scene.now = 100_000;
    let effects = scene.step(AgentInput::Heard { sent: BootTime(1_000) });
    assert_eq!(effects, [ordered(key(0), StopReason::Lease), AgentEffect::Signal(key(0), StopSignal::Term)]);
}

/// What the next life does first, and it: of one run that may run once at most, and one like any other.
fn restarted(now: u64, lease: Option<Lease>, state: ContainerState) -> (Scene, Vec<AgentEffect>) {
    let journal = [once(0), assignment(1)].map(|assignment| {
        let entry = entry_started(assignment.key);
        JournalEntry { assignment: Some(Arc::new(assignment)), ..entry }
    });
    let found = [0, 1].map(|index| FoundContainer { key: key(index), state, limits: None });
    let mut scene = Scene { now, ..Scene::default() };
    let input = AgentInput::Recovered { journal: journal.into(), found: Some(found.into()), lease };
    let effects = scene.step(input);
    (scene, effects)
}

fn lease(since: u64, length: u64) -> Lease {
    Lease { since: BootTime(since), length: Duration::from_millis(length) }
}

#[test]
fn the_lease_is_told_so_that_it_can_be_kept() {
    let mut scene = Scene { now: 7_000, ..Scene::default() };
    scene.step(AgentInput::Recovered { journal: vec![], found: None, lease: None });
    assert_eq!(scene.agent.lease(), lease(7_000, LEASE), "of nobody who was ever heard");
    scene.now = 20_000;
    scene.step(AgentInput::Connected(shared::link::Welcome { lease: Duration::from_secs(3), ..welcome(Vec::new()) }));
    scene.step(AgentInput::Heard { sent: BootTime(12_000) });
    assert_eq!(scene.agent.lease(), lease(12_000, 3_000));
    scene.step(AgentInput::Disconnected);
    assert_eq!(scene.agent.lease(), lease(12_000, 3_000));
}

#[test]
fn the_lease_goes_on_over_restarts_without_the_master() {
    let mut kept = Some(lease(12_000, LEASE));
    for now in [15_000, 20_000, 41_999] {
        let (scene, effects) = restarted(now, kept, ContainerState::Running);
        assert_eq!(effects, [watched(key(0)), watched(key(1))].concat(), "at {now}");
        assert_eq!(scene.agent.next_wake(), Some(BootTime(12_000 + LEASE)), "at {now}");
        kept = Some(scene.agent.lease());
    }
    let (mut scene, effects) = restarted(12_000 + LEASE, kept, ContainerState::Running);
    let stopped = vec![ordered(key(0), StopReason::Lease), AgentEffect::Signal(key(0), StopSignal::Term)];
    assert_eq!(effects, [watched(key(0)), watched(key(1)), stopped].concat(), "before anything else can happen");
    let effects = scene.step(AgentInput::Exited(key(0), exit(0)));
    assert!(matches!(verdict_of(&effects), Some(Verdict::WorkerLost { .. })), "{effects:?}");
    assert_eq!(scene.agent.running(), 1);
}

#[test]
fn a_restart_keeps_how_long_the_lease_is() {
    let (scene, _) = restarted(12_100, Some(lease(12_000, 3_000)), ContainerState::Running);
    assert_eq!(scene.agent.next_wake(), Some(BootTime(15_000)));
}

#[test]
fn a_lease_that_is_not_known_begins_with_the_start_and_none_lies_ahead() {
    for kept in [None, Some(lease(999_000, LEASE))] {
        let (scene, effects) = restarted(50_000, kept, ContainerState::Running);
        assert_eq!(effects, [watched(key(0)), watched(key(1))].concat());
        assert_eq!(scene.agent.next_wake(), Some(BootTime(50_000 + LEASE)), "{kept:?}");
    }
}

#[test]
fn what_had_ended_when_the_lease_was_over_keeps_its_own_end() {
    let (mut scene, effects) = restarted(90_000, Some(lease(12_000, LEASE)), ContainerState::Exited);
    assert_eq!(effects, [attached(key(0)), attached(key(1))].concat());
    assert_eq!(verdict_of(&scene.step(AgentInput::Exited(key(0), exit(0)))), Some(Verdict::Success));
}

#[test]
fn a_lease_that_is_over_ends_what_no_engine_tells_of_yet() {
    let journal = vec![JournalEntry { assignment: Some(Arc::new(once(0))), ..entry_started(key(0)) }];
    let mut scene = Scene { now: 90_000, ..Scene::default() };
    let input = AgentInput::Recovered { journal, found: None, lease: Some(lease(12_000, LEASE)) };
    assert_eq!(scene.step(input), []);
    assert_eq!(scene.agent.next_wake(), None, "nothing can be done before that");
    let found = vec![FoundContainer { key: key(0), state: ContainerState::Running, limits: None }];
    let stopped = vec![ordered(key(0), StopReason::Lease), AgentEffect::Signal(key(0), StopSignal::Term)];
    assert_eq!(scene.step(AgentInput::Surveyed(found)), [watched(key(0)), stopped].concat());
}

#[test]
fn what_had_ended_before_anybody_saw_it_keeps_its_own_end_over_restarts() {
    let mut journal = BTreeMap::new();
    let begun = JournalEntry { assignment: Some(Arc::new(once(0))), ..entry_started(key(0)) };
    begun.to_records().iter().for_each(|record| record.apply(&mut journal));
    let mut start = |found| {
        let mut scene = Scene { now: 90_000, ..Scene::default() };
        let entries = journal.values().cloned().collect();
        let lease = Some(lease(12_000, LEASE));
        let mut effects = scene.step(AgentInput::Recovered { journal: entries, found, lease });
        effects.extend(scene.step(AgentInput::Tick));
        for effect in &effects {
            if let AgentEffect::Journal(record) = effect {
                record.apply(&mut journal);
            }
        }
        scene
    };
    // The engine hangs, and the worker dies before it answers.
    start(None);
    let exited = FoundContainer { key: key(0), state: ContainerState::Exited, limits: None };
    let mut scene = start(Some(vec![exited]));
    assert_eq!(verdict_of(&scene.step(AgentInput::Exited(key(0), exit(0)))), Some(Verdict::Success));
}

#[test]
fn who_hears_the_master_before_the_engine_answers_stops_nothing() {
    let journal = vec![JournalEntry { assignment: Some(Arc::new(once(0))), ..entry_started(key(0)) }];
    let mut scene = Scene { now: 90_000, ..Scene::default() };
    scene.step(AgentInput::Recovered { journal, found: None, lease: Some(lease(12_000, LEASE)) });
    scene.step(AgentInput::Connected(welcome(vec![(key(0), Decision::Keep)])));
    scene.step(AgentInput::Heard { sent: BootTime(90_000) });
    let found = vec![FoundContainer { key: key(0), state: ContainerState::Running, limits: None }];
    assert_eq!(scene.step(AgentInput::Surveyed(found)), watched(key(0)));
}

#[test]
fn what_may_run_once_and_has_not_begun_is_given_back() {
    let mut scene = Scene::connected();
    scene.step(AgentInput::Assigned(vec![once(0)]));
    scene.step(AgentInput::Assigned(vec![once(1)]));
    scene.step(AgentInput::ImageReady(key(1), None));
    let effects = scene.wake();
    assert!(matches!(verdict_of(&effects), Some(Verdict::Rejected { .. })), "{effects:?}");
    let effects = scene.step(AgentInput::Created(key(1)));
    assert!(matches!(verdict_of(&effects), Some(Verdict::Rejected { .. })), "{effects:?}");
}

#[test]
fn what_ended_in_time_while_nobody_watched_has_its_own_end() {
    let journal = JournalEntry { assignment: Some(Arc::new(limited(0))), ..entry_started(key(0)) };
    let ended = Ended { started_at: Some(WallTime(40)), finished_at: Some(WallTime(30_000)), ..exit(0) };
    for state in [ContainerState::Exited, ContainerState::Running] {
        // Long after the limit; an engine that hung may still have called it running.
        let mut scene = Scene { now: 900_000, ..Scene::default() };
        scene.step(AgentInput::Recovered {
            journal: vec![journal.clone()],
            found: Some(vec![FoundContainer { key: key(0), state, limits: None }]),
            lease: None,
        });
        scene.step(AgentInput::Tick);
        assert_eq!(
            verdict_of(&scene.step(AgentInput::Exited(key(0), ended.clone()))),
            Some(Verdict::Success),
            "{state:?}"
        );
    }
}

#[test]
fn what_may_have_begun_unknown_to_the_engine_is_not_started_again() {
    let once = JournalEntry { assignment: Some(Arc::new(once(0))), ..entry_started(key(0)) };
    let (_, effects) = Scene::recovered(vec![once], &[(key(0), ContainerState::Created)]);
    assert!(matches!(verdict_of(&effects), Some(Verdict::WorkerLost { .. })), "{effects:?}");
}

#[test]
fn a_stop_before_the_start_is_one_after_a_restart_too() {
    let stop = Some(StopOrder { grace: GRACE, reason: StopReason::Lease });
    let (_, effects) = Scene::recovered(vec![JournalEntry { stop, ..entry(key(0)) }], &[]);
    assert!(matches!(verdict_of(&effects), Some(Verdict::Rejected { .. })), "{effects:?}");
}

#[test]
fn who_stores_too_much_is_ended_at_once_and_told_how_much_it_was() {
    let mut scene = Scene::connected();
    run(&mut scene, assignment(0));
    let limit_bytes = assignment(0).resources.storage_bytes;
    let (used_bytes, largest) = (Some(limit_bytes + 1), largest());
    let reason = StopReason::Storage { limit_bytes, used_bytes, largest: largest.clone() };
    let effects = scene.step(AgentInput::StorageExceeded { key: key(0), used_bytes, largest: largest.clone() });
    let order = StopOrder { grace: Duration::ZERO, reason };
    let journal = AgentEffect::Journal(JournalRecord::Stopping { key: key(0), order });
    assert_eq!(effects, [journal, AgentEffect::Signal(key(0), StopSignal::Term)]);
    assert_eq!(scene.wake(), [AgentEffect::Signal(key(0), StopSignal::Kill)]);
    assert_eq!(scene.now, 0, "without waiting");
    let effects = scene.step(AgentInput::Exited(key(0), exit(137)));
    assert_eq!(verdict_of(&effects), Some(Verdict::Disk { limit_bytes, used_bytes, largest }));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 1, bytes: 10, notes: Vec::new() });
    let notes = effects.iter().find_map(|effect| match effect {
        AgentEffect::Journal(JournalRecord::Finished { outcome, .. }) => Some(outcome.output_notes.clone()),
        _ => None,
    });
    let notes = notes.expect("an outcome");
    assert!(notes[0].starts_with("it stored 1 bytes more than 1 GiB and may store 1 GiB: "), "{notes:?}");
}

#[test]
fn what_was_only_reserved_is_exceeded_where_the_disk_is_full() {
    let mut scene = Scene::connected();
    let assignment = Assignment { storage_reserved: true, ..assignment(0) };
    let limit_bytes = assignment.resources.storage_bytes;
    run(&mut scene, assignment);
    let used_bytes = Some(3 * limit_bytes);
    scene.step(AgentInput::StorageExceeded { key: key(0), used_bytes, largest: largest() });
    let effects = scene.step(AgentInput::Exited(key(0), exit(137)));
    assert_eq!(verdict_of(&effects), Some(Verdict::Disk { limit_bytes, used_bytes, largest: largest() }));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 1, bytes: 10, notes: Vec::new() });
    let AgentEffect::Journal(JournalRecord::Finished { outcome, .. }) = &effects[0] else { panic!("{effects:?}") };
    let expected = "a disk of its worker was full, it stored 3 GiB, and 1 GiB were reserved for it: ";
    assert!(outcome.output_notes[0].starts_with(expected), "{outcome:?}");
}

#[test]
fn who_fails_with_a_full_file_system_of_its_own_has_failed_for_that() {
    let mut scene = Scene::connected();
    run(&mut scene, assignment(0));
    let limit_bytes = assignment(0).resources.storage_bytes;
    // The worker looks when the container has ended, and says so before that.
    scene.step(AgentInput::StorageExceeded { key: key(0), used_bytes: None, largest: largest() });
    let effects = scene.step(AgentInput::Exited(key(0), exit(1)));
    assert_eq!(verdict_of(&effects), Some(Verdict::Disk { limit_bytes, used_bytes: None, largest: largest() }));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 1, bytes: 10, notes: Vec::new() });
    let AgentEffect::Journal(JournalRecord::Finished { outcome, .. }) = &effects[0] else { panic!("{effects:?}") };
    let note = &outcome.output_notes[0];
    assert!(note.starts_with("its /output was full: it may store 1 GiB") && note.ends_with("exit code 1"), "{note}");
}

#[test]
fn what_took_the_most_outlives_the_process() {
    let limit_bytes = assignment(0).resources.storage_bytes;
    let reason = StopReason::Storage { limit_bytes, used_bytes: Some(u64::MAX), largest: largest() };
    let stop = Some(StopOrder { grace: Duration::ZERO, reason });
    let entry = JournalEntry { stop, ..entry_started(key(0)) };
    let (mut scene, _) = Scene::recovered(vec![entry], &[(key(0), ContainerState::Running)]);
    let effects = scene.step(AgentInput::Exited(key(0), exit(137)));
    let expected = Verdict::Disk { limit_bytes, used_bytes: Some(u64::MAX), largest: largest() };
    assert_eq!(verdict_of(&effects), Some(expected));
}

#[test]
fn what_has_ended_or_is_being_stopped_keeps_its_own_end_whatever_it_stores() {
    let mut scene = Scene::connected();
    run(&mut scene, assignment(0));
    scene.step(AgentInput::Exited(key(0), exit(0)));
    assert_eq!(scene.step(exceeded(0)), []);
    run(&mut scene, assignment(1));
    scene.cancel(1, GRACE);
    assert_eq!(scene.step(exceeded(1)), []);
    assert_eq!(scene.wake(), [AgentEffect::Signal(key(1), StopSignal::Kill)]);
    assert_eq!(scene.now, 0, "its grace is over");
    let effects = scene.step(AgentInput::Exited(key(1), exit(137)));
    assert_eq!(verdict_of(&effects), Some(Verdict::Cancelled));
}
