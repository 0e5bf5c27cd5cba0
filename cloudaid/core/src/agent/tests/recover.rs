//! After a restart.

use super::*;

#[test]
fn accepted_in_an_earlier_life_waits_for_the_master() {
    let (mut scene, effects) = Scene::recovered(
        vec![entry(key(0)), entry(key(1)), entry(key(2)), entry_started(key(3))],
        &[(key(1), ContainerState::Created), (key(3), ContainerState::Created)],
    );
    assert_eq!(effects, []);
    assert_eq!(scene.agent.inventory(), [0, 1, 2, 3].map(|index| Held { key: key(index), phase: Phase::Accepted }));
    scene.now = 6;
    let decisions =
        vec![(key(0), Decision::Keep), (key(1), Decision::Keep), (key(2), Decision::Stop), (key(3), Decision::Keep)];
    let mut expected = vec![prepare(key(0))];
    expected.extend(starting(key(1), 6));
    expected.push(AgentEffect::Remove(key(2)));
    expected.extend(starting(key(3), 6));
    assert_eq!(scene.step(AgentInput::Connected(welcome(decisions))), expected);
}

#[test]
fn what_runs_or_ended_is_watched_again_at_once() {
    let (mut scene, effects) = Scene::recovered(
        vec![entry_started(key(0)), entry_started(key(1))],
        &[(key(0), ContainerState::Running), (key(1), ContainerState::Exited)],
    );
    assert_eq!(effects, [watched(key(0)), attached(key(1))].concat());
    scene.step(AgentInput::Exited(key(1), exit(1)));
    scene.step(AgentInput::LogsDrained(key(1), LogBytes::default()));
    scene.step(AgentInput::OutputsUploaded { key: key(1), files: 0, bytes: 0, notes: Vec::new() });
    let outcome = outcome(Verdict::ExitCode { exit_code: 1 }, Some(40), 0);
    let reports = [started(key(0), 1, 40), finished(key(1), 2, &outcome).remove(1)];
    assert_eq!(scene.step(AgentInput::Connected(welcome(Vec::new()))), reports);
}

#[test]
fn a_container_that_was_started_and_is_gone_is_lost() {
    let (mut scene, effects) = Scene::recovered(vec![entry_started(key(0))], &[]);
    let verdict = Verdict::WorkerLost { message: "the container is gone".to_owned() };
    assert_eq!(effects, gone(key(0), &verdict));
    // What it has stored is still there, and what was read of its log.
    assert_eq!(scene.step(AgentInput::OutputsUploaded { key: key(0), files: 2, bytes: 20, notes: Vec::new() }), []);
    let effects = scene.step(AgentInput::LogsDrained(key(0), LogBytes { stdout: 7, ..LogBytes::default() }));
    let outcome = Outcome { stdout_bytes: 7, output_files: 2, output_bytes: Some(20), ..outcome(verdict, Some(40), 0) };
    let expected = finished(key(0), 1, &outcome);
    assert_eq!(effects, expected[..1]);
    assert_eq!(scene.step(AgentInput::Connected(welcome(vec![(key(0), Decision::Keep)]))), expected[1..]);
}

#[test]
fn a_container_without_a_journal_is_adopted_and_finishes() {
    let (mut scene, effects) =
        Scene::recovered(Vec::new(), &[(key(0), ContainerState::Running), (key(1), ContainerState::Created)]);
    let adopted = |index| AgentEffect::Journal(JournalRecord::Adopted(key(index)));
    let expected = [vec![adopted(0)], attached(key(0)), vec![adopted(1)]].concat();
    assert_eq!(effects, expected);
    scene.step(AgentInput::Exited(key(0), exit(0)));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    let mut expected = starting(key(1), 0);
    expected.push(finished(key(0), 1, &outcome(Verdict::Success, None, 0)).remove(1));
    assert_eq!(scene.step(AgentInput::Connected(welcome(vec![(key(1), Decision::Keep)]))), expected);
}

#[test]
fn an_end_that_was_not_acknowledged_is_told_again() {
    let outcome = outcome(Verdict::Success, Some(1), 2);
    let entries =
        [0, 1].map(|index| JournalEntry { outcome: Some(outcome.clone()), ..entry_started(key(index)) }).into();
    let (mut scene, effects) = Scene::recovered(entries, &[(key(0), ContainerState::Exited)]);
    assert_eq!(effects, []);
    assert_eq!(scene.agent.inventory(), [0, 1].map(|index| Held { key: key(index), phase: Phase::Finished }));
    let decisions = vec![(key(0), Decision::Keep), (key(1), Decision::Forget)];
    assert_eq!(
        scene.step(AgentInput::Connected(welcome(decisions))),
        [AgentEffect::Remove(key(1)), finished(key(0), 1, &outcome).remove(1)]
    );
}

#[test]
fn a_cancel_outlives_the_process() {
    let stop = Some(StopOrder { grace: GRACE, reason: StopReason::Person });
    let (mut scene, effects) = Scene::recovered(
        vec![JournalEntry { stop: stop.clone(), ..entry_started(key(0)) }, JournalEntry { stop, ..entry(key(1)) }],
        &[(key(0), ContainerState::Running)],
    );
    let mut expected = watched(key(0));
    expected.push(AgentEffect::Signal(key(0), StopSignal::Term));
    expected.extend_from_slice(&finished(key(1), 0, &outcome(Verdict::Cancelled, None, 0))[..1]);
    assert_eq!(effects, expected);
    scene.step(AgentInput::Exited(key(0), exit(143)));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(0), 0, &outcome(Verdict::Cancelled, Some(40), 0))[..1]);
}

#[test]
fn an_exit_code_outlives_the_process_and_the_container() {
    let usage =
        Some(shared::link::ContainerUsage { cpu_ms: 7, memory_peak_bytes: 4096, oom_kills: 1, forks_refused: 2 });
    let exited = Exited {
        verdict: Verdict::ExitCode { exit_code: 3 },
        started_at: Some(WallTime(41)),
        finished_at: WallTime(50),
        usage,
        notes: vec!["somebody had it stopped".to_owned()],
    };
    let journal = vec![JournalEntry { exited: Some(exited), ..entry_started(key(0)) }];
    let (mut scene, effects) = Scene::recovered(journal, &[]);
    assert_eq!(effects, [AgentEffect::CollectLogs(key(0)), AgentEffect::UploadOutputs(key(0))]);
    assert_eq!(scene.agent.inventory(), [Held { key: key(0), phase: Phase::Finished }]);
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    let output_notes = vec!["somebody had it stopped".to_owned()];
    let expected = Outcome { usage, output_notes, ..outcome(Verdict::ExitCode { exit_code: 3 }, Some(41), 50) };
    assert_eq!(effects, finished(key(0), 0, &expected)[..1]);
}

/// A container that was started is not there, and what it has left is brought to the master.
fn gone(key: AttemptKey, verdict: &Verdict) -> Vec<AgentEffect> {
    let started_at = Some(WallTime(40));
    let exited =
        Exited { verdict: verdict.clone(), started_at, finished_at: WallTime(0), usage: None, notes: Vec::new() };
    let journal = AgentEffect::Journal(JournalRecord::Exited { key, exited });
    vec![journal, AgentEffect::CollectLogs(key), AgentEffect::UploadOutputs(key)]
}

/// A start at which the engine gives no answer.
fn unseen(journal: Vec<JournalEntry>) -> (Scene, Vec<AgentEffect>) {
    let mut scene = Scene::default();
    let effects = scene.step(AgentInput::Recovered { journal, found: None, lease: None });
    (scene, effects)
}

fn surveyed(found: &[(AttemptKey, ContainerState)]) -> AgentInput {
    AgentInput::Surveyed(found.iter().map(|&(key, state)| FoundContainer { key, state, limits: None }).collect())
}

#[test]
fn without_an_engine_nothing_is_said_of_what_may_run_until_it_answers() {
    let entries = (0..3).map(|index| entry_started(key(index))).chain([entry(key(3))]).collect();
    let (mut scene, effects) = unseen(entries);
    assert_eq!(effects, []);
    let held = |index: u32| {
        let phase = if index == 3 { Phase::Accepted } else { Phase::Running };
        Held { key: key(index), phase }
    };
    assert_eq!(scene.agent.inventory(), [0, 1, 2, 3].map(held));
    let keep = || welcome((0..4).map(|index| (key(index), Decision::Keep)).collect());
    // What has not begun asks the engine like anything new, and may be handed back.
    assert_eq!(scene.step(AgentInput::Connected(keep())), [prepare(key(3))]);
    assert_eq!(scene.agent.running(), 3);

    let effects = scene.step(surveyed(&[
        (key(0), ContainerState::Running),
        (key(1), ContainerState::Created),
        (key(7), ContainerState::Exited),
    ]));
    let lost = Verdict::WorkerLost { message: "the container is gone".to_owned() };
    let mut expected = watched(key(0));
    expected.extend(gone(key(2), &lost));
    expected.push(AgentEffect::Journal(JournalRecord::Adopted(key(7))));
    expected.extend(attached(key(7)));
    assert_eq!(effects, expected);
    // The next session begins with what is known now.
    let mut expected = starting(key(1), 0);
    expected.extend([started(key(0), 1, 40), started(key(7), 2, 0)]);
    assert_eq!(scene.step(AgentInput::Connected(keep())), expected);
}

#[test]
fn what_is_stopped_before_the_engine_answers_is_stopped_then() {
    let (mut scene, _) = unseen((0..3).map(|index| entry_started(key(index))).collect());
    let decisions = vec![(key(0), Decision::Keep), (key(1), Decision::Stop), (key(2), Decision::Forget)];
    assert_eq!(scene.step(AgentInput::Connected(welcome(decisions))), [AgentEffect::Remove(key(2))]);
    assert_eq!(scene.cancel(0, GRACE), [stopping(key(0), GRACE)]);
    scene.step(AgentInput::Removed(key(2)));
    let running = [0, 1, 2].map(|index| (key(index), ContainerState::Running));
    let term = |index| AgentEffect::Signal(key(index), StopSignal::Term);
    let expected = [watched(key(0)), vec![term(0)], watched(key(1)), vec![term(1)]].concat();
    assert_eq!(scene.step(surveyed(&running)), expected, "what is gone is not taken up again");
    scene.step(AgentInput::Exited(key(0), exit(143)));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(0), 1, &outcome(Verdict::Cancelled, Some(40), 0)));
    assert_eq!(scene.step(AgentInput::Exited(key(1), exit(143))), [AgentEffect::Remove(key(1))]);
}

#[test]
fn what_was_over_before_the_lease_was_keeps_its_own_end() {
    let once = |index| {
        let assignment = Assignment { at_most_once: true, ..assignment(index) };
        JournalEntry { assignment: Some(Arc::new(assignment)), ..entry_started(key(index)) }
    };
    let (mut scene, _) = unseen(vec![once(0), once(1)]);
    scene.now = 31_000;
    let lost_touch = StopOrder { grace: GRACE, reason: StopReason::Lease };
    let order = AgentEffect::Journal(JournalRecord::Stopping { key: key(1), order: lost_touch });
    assert_eq!(scene.step(AgentInput::Tick), []);
    let effects = scene.step(surveyed(&[(key(0), ContainerState::Exited), (key(1), ContainerState::Running)]));
    let term = AgentEffect::Signal(key(1), StopSignal::Term);
    assert_eq!(effects, [attached(key(0)), watched(key(1)), vec![order, term]].concat());
    let verdict = |effects: Vec<AgentEffect>| match effects.into_iter().next() {
        Some(AgentEffect::Journal(JournalRecord::Exited { exited, .. })) => exited.verdict,
        other => panic!("{other:?}"),
    };
    assert_eq!(verdict(scene.step(AgentInput::Exited(key(0), exit(0)))), Verdict::Success);
    assert!(matches!(verdict(scene.step(AgentInput::Exited(key(1), exit(143)))), Verdict::WorkerLost { .. }));
}

#[test]
fn a_worker_that_leaves_does_not_wait_for_an_engine_that_gives_no_answer() {
    let (mut scene, _) = unseen(vec![entry_started(key(0))]);
    scene.step(AgentInput::Leave { hand_back: false });
    assert!(scene.agent.may_leave(false) && scene.agent.may_leave(true));
}
