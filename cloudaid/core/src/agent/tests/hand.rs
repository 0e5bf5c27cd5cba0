//! Containers that somebody stops, or starts again, past their worker.

use super::*;

fn once(at_most_once: bool) -> Scene {
    let mut scene = Scene::connected();
    scene.step(AgentInput::Assigned(vec![Assignment { at_most_once, ..assignment(0) }]));
    scene.step(AgentInput::ImageReady(key(0), None));
    scene.step(AgentInput::Created(key(0)));
    scene.step(AgentInput::Started(key(0)));
    scene
}

/// It has ended so, and somebody has started it again.
fn again(code: i32, by_hand: i32) -> AgentInput {
    AgentInput::Exited(key(0), Ended { by_hand: Some(by_hand), runs_again: true, ..exit(code) })
}

/// It has been started first then, and again since.
fn noted(at: i64) -> AgentEffect {
    AgentEffect::Journal(JournalRecord::Starting { key: key(0), at: WallTime(at), boot: None, again: true })
}

/// What is told of it, once its log and its outputs are at the master.
fn told(scene: &mut Scene) -> Outcome {
    if scene.step(AgentInput::LogsDrained(key(0), LogBytes::default())) == [AgentEffect::CollectLogs(key(0))] {
        scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    }
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    let outcome = effects.into_iter().find_map(|effect| match effect {
        AgentEffect::Journal(JournalRecord::Finished { outcome, .. }) => Some(outcome),
        _ => None,
    });
    outcome.expect("it is over")
}

#[test]
fn what_was_stopped_by_hand_is_said_to_whatever_it_ended_with() {
    for (code, by_hand, verdict, is_noted) in [
        (0, Some(15), Verdict::Success, true),
        (5, Some(15), Verdict::ExitCode { exit_code: 5 }, true),
        (134, Some(15), Verdict::Signal { signal: 6, by_hand: false }, true),
        (143, Some(15), Verdict::Signal { signal: 15, by_hand: true }, false),
        (5, None, Verdict::ExitCode { exit_code: 5 }, false),
    ] {
        let mut scene = once(false);
        scene.step(AgentInput::Exited(key(0), Ended { by_hand, ..exit(code) }));
        let outcome = told(&mut scene);
        assert_eq!(outcome.verdict, verdict);
        let noted = outcome.output_notes.iter().any(|note| note.starts_with("it was stopped by hand"));
        assert_eq!(noted, is_noted, "{code}: {outcome:?}");
    }
}

#[test]
fn what_the_worker_stops_is_not_said_to_be_stopped_by_hand() {
    let mut scene = once(false);
    scene.cancel(0, GRACE);
    scene.step(AgentInput::Exited(key(0), Ended { by_hand: Some(15), ..exit(0) }));
    assert_eq!(told(&mut scene), outcome(Verdict::Cancelled, Some(0), 0));
    let mut scene = once(false);
    scene.step(AgentInput::Exited(key(0), Ended { by_hand: Some(15), by_engine: true, ..exit(0) }));
    assert_eq!(told(&mut scene).output_notes, Vec::<String>::new(), "it fell with the engine");
}

#[test]
fn what_somebody_starts_again_goes_on_with_its_log_and_says_so() {
    let mut scene = once(false);
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    scene.now = 7;
    let expected = [vec![noted(0)], attached(key(0))].concat();
    assert_eq!(scene.step(again(143, 15)), expected, "who read its log has stopped");
    scene.now = 9;
    let last = Ended { started_at: Some(WallTime(7)), ..exit(0) };
    scene.step(AgentInput::Exited(key(0), last));
    let outcome = told(&mut scene);
    assert_eq!((outcome.verdict, outcome.started_at), (Verdict::Success, Some(WallTime(0))));
    assert!(outcome.output_notes[0].starts_with("its container was started again by hand"));
}

#[test]
fn a_log_that_is_still_read_at_a_second_start_is_not_read_twice_at_a_time() {
    let mut scene = once(false);
    assert_eq!(scene.step(again(0, 15)), [noted(0), AgentEffect::Wait(key(0))]);
    // Who reads it has stopped at the first end. What is read then may come to its end before the second one is known.
    assert_eq!(scene.step(drained(1)), [AgentEffect::CollectLogs(key(0))]);
    assert_eq!(scene.step(drained(2)), []);
    assert_eq!(scene.step(drained(2)), []);
}

fn drained(stdout: u64) -> AgentInput {
    AgentInput::LogsDrained(key(0), LogBytes { stdout, ..LogBytes::default() })
}

#[test]
fn the_log_of_all_of_it_is_at_the_master_before_its_end_is_told() {
    let uploaded = || AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() };
    let stdout = |effects: &[AgentEffect]| {
        effects.iter().find_map(|effect| match effect {
            AgentEffect::Journal(JournalRecord::Finished { outcome, .. }) => Some(outcome.stdout_bytes),
            _ => None,
        })
    };
    // What was written before the first end waits for the master until after the second one.
    let mut scene = once(false);
    scene.step(again(0, 15));
    scene.step(AgentInput::Exited(key(0), exit(0)));
    scene.step(uploaded());
    assert_eq!(scene.step(drained(1)), [AgentEffect::CollectLogs(key(0))]);
    assert_eq!(stdout(&scene.step(drained(3))), Some(3));

    // It is there before the second end.
    let mut scene = once(false);
    scene.step(drained(1));
    scene.step(again(0, 15));
    scene.step(drained(2));
    let effects = scene.step(AgentInput::Exited(key(0), exit(0)));
    assert_eq!(effects[1..], [AgentEffect::CollectLogs(key(0)), AgentEffect::UploadOutputs(key(0))]);
    assert_eq!(scene.step(uploaded()), []);
    assert_eq!(stdout(&scene.step(drained(3))), Some(3));
}

#[test]
fn a_second_start_is_still_known_when_the_worker_has_died() {
    let mut scene = once(false);
    scene.now = 7;
    let records = scene.step(again(0, 15));
    let mut journal = std::collections::BTreeMap::from([(key(0), entry_started(key(0)))]);
    for effect in records {
        if let AgentEffect::Journal(record) = effect {
            record.apply(&mut journal);
        }
    }
    let kept = journal[&key(0)].to_records();
    let mut journal = std::collections::BTreeMap::new();
    kept.iter().for_each(|record| record.apply(&mut journal));
    let (mut scene, _) = Scene::recovered(journal.into_values().collect(), &[(key(0), ContainerState::Running)]);
    scene.step(AgentInput::Exited(key(0), Ended { started_at: Some(WallTime(7)), ..exit(0) }));
    let outcome = told(&mut scene);
    assert_eq!(outcome.started_at, Some(WallTime(0)), "its first start");
    assert!(outcome.output_notes[0].starts_with("its container was started again by hand"), "{outcome:?}");
}

#[test]
fn what_a_second_life_wrote_is_read_though_the_worker_has_died_after_it() {
    let entry = JournalEntry {
        exited: Some(Exited {
            verdict: Verdict::Success,
            started_at: None,
            finished_at: WallTime(50),
            usage: None,
            notes: Vec::new(),
        }),
        was_started_again: true,
        ..entry_started(key(0))
    };
    let (mut scene, effects) = Scene::recovered(vec![entry], &[(key(0), ContainerState::Exited)]);
    assert_eq!(effects, [AgentEffect::CollectLogs(key(0)), AgentEffect::UploadOutputs(key(0))]);
    // What was kept of it may be no more than what its first life wrote.
    let effects = scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    assert_eq!(effects, [AgentEffect::CollectLogs(key(0))]);
}

#[test]
fn what_had_ended_and_runs_again_is_held_to_its_limits() {
    let limit = Duration::from_secs(10);
    let assignment = Assignment { blocking_log: true, time_limit: Some(limit), ..assignment(0) };
    let limit_bytes = assignment.resources.storage_bytes;
    let entry = JournalEntry { assignment: Some(Arc::new(assignment)), ..entry_started(key(0)) };
    let (mut scene, effects) = Scene::recovered(vec![entry], &[(key(0), ContainerState::Exited)]);
    assert_eq!(effects, attached(key(0)));
    scene.now = 5_000;
    let expected = [
        noted(40),
        AgentEffect::Wait(key(0)),
        AgentEffect::HoldForLog(key(0)),
        AgentEffect::WatchStorage { key: key(0), limit_bytes, reserved: false },
    ];
    assert_eq!(scene.step(again(0, 15)), expected);
    assert_eq!(scene.agent.next_wake(), Some(BootTime(10_040)), "its time counts from the first start");
    scene.wake();
    scene.step(AgentInput::Exited(key(0), exit(143)));
    assert_eq!(told(&mut scene).verdict, Verdict::Timeout { limit_seconds: 10, exit_code: Some(143) });
}

#[test]
fn who_sent_a_signal_is_not_said_where_that_may_have_been_an_earlier_life() {
    for (code, by_hand, verdict, perhaps_stopped) in [
        (0, Some(15), Verdict::Success, false),
        (5, Some(15), Verdict::ExitCode { exit_code: 5 }, false),
        (143, Some(15), Verdict::Signal { signal: 15, by_hand: false }, true),
        (137, None, Verdict::Signal { signal: 9, by_hand: false }, true),
        (131, Some(3), Verdict::Signal { signal: 3, by_hand: false }, true),
        (131, None, Verdict::Signal { signal: 3, by_hand: false }, false),
    ] {
        let (mut scene, _) = Scene::recovered(Vec::new(), &[(key(0), ContainerState::Exited)]);
        scene.step(AgentInput::Exited(key(0), Ended { by_hand, ..exit(code) }));
        let expected = Outcome { perhaps_stopped, ..outcome(verdict, None, 0) };
        assert_eq!(told(&mut scene), expected, "{code} {by_hand:?}");

        // It dies once more, and has a journal of that run by now.
        let adopted = JournalEntry::new(key(0));
        let (mut scene, _) = Scene::recovered(vec![adopted], &[(key(0), ContainerState::Exited)]);
        scene.step(AgentInput::Exited(key(0), Ended { by_hand, ..exit(code) }));
        assert_eq!(told(&mut scene), expected, "{code} {by_hand:?}");
    }
}

#[test]
fn what_may_run_once_at_most_is_stopped_when_somebody_starts_it_again() {
    for (code, first) in [
        (0, Verdict::Success),
        (5, Verdict::ExitCode { exit_code: 5 }),
        (143, Verdict::Signal { signal: 15, by_hand: true }),
    ] {
        let mut scene = once(true);
        let order = StopOrder { grace: Duration::ZERO, reason: StopReason::StartedAgain { first: first.clone() } };
        let ordered = AgentEffect::Journal(JournalRecord::Stopping { key: key(0), order: order.clone() });
        let term = AgentEffect::Signal(key(0), StopSignal::Term);
        assert_eq!(scene.step(again(code, 15)), [noted(0), AgentEffect::Wait(key(0)), ordered, term]);
        assert_eq!(scene.wake(), [AgentEffect::Signal(key(0), StopSignal::Kill)]);
        scene.step(AgentInput::Exited(key(0), exit(137)));
        let outcome = told(&mut scene);
        assert_eq!(outcome.verdict, first);
        assert!(outcome.output_notes[0].contains("as it may run once at most it was stopped"), "{outcome:?}");

        // The worker dies before it has ended for the second time.
        let assignment = Some(Arc::new(Assignment { at_most_once: true, ..assignment(0) }));
        let entry = JournalEntry { assignment, stop: Some(order), ..entry_started(key(0)) };
        let (mut scene, effects) = Scene::recovered(vec![entry], &[(key(0), ContainerState::Running)]);
        assert!(effects.contains(&AgentEffect::Signal(key(0), StopSignal::Term)), "{effects:?}");
        scene.step(AgentInput::Exited(key(0), exit(137)));
        assert_eq!(told(&mut scene).verdict, first);
    }
}

#[test]
fn what_is_being_stopped_is_killed_when_somebody_starts_it_again() {
    let mut scene = once(false);
    scene.cancel(0, GRACE);
    assert_eq!(scene.step(again(143, 15)), [noted(0), AgentEffect::Wait(key(0))]);
    assert_eq!(scene.step(AgentInput::Tick), [AgentEffect::Signal(key(0), StopSignal::Kill)]);
    scene.step(AgentInput::Exited(key(0), exit(137)));
    assert_eq!(told(&mut scene).verdict, Verdict::Cancelled);
}
