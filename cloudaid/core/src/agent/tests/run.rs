//! From the assignment to the end that the master knows.

use super::*;

#[test]
fn a_run_goes_from_assignment_to_nothing_left() {
    let mut scene = Scene::connected();
    let key = key(0);
    let accepted = AgentEffect::Journal(JournalRecord::Accepted(Arc::new(assignment(0))));
    assert_eq!(scene.step(AgentInput::Assigned(vec![assignment(0)])), [accepted, prepare(key)]);
    assert_eq!(scene.step(AgentInput::ImageReady(key, None)), [AgentEffect::Create(Arc::new(assignment(0)))]);
    scene.now = 5;
    assert_eq!(scene.step(AgentInput::Created(key)), starting(key, 5));
    assert_eq!(scene.step(AgentInput::Started(key)), [watched(key), vec![started(key, 1, 5)]].concat());
    assert_eq!(scene.agent.running(), 1);
    scene.now = 9;
    let verdict = Verdict::ExitCode { exit_code: 3 };
    assert_eq!(scene.step(AgentInput::Exited(key, exit(3))), exited(key, verdict, Some(5), 9));
    assert_eq!(scene.step(AgentInput::LogsDrained(key, LogBytes { stdout: 7, stderr: 8, lacks_end: false })), []);
    let outcome = Outcome {
        stdout_bytes: 7,
        stderr_bytes: 8,
        output_files: 2,
        output_bytes: Some(20),
        output_notes: vec!["a link".to_owned()],
        usage: None,
        handed_back: false,
        ..outcome(Verdict::ExitCode { exit_code: 3 }, Some(5), 9)
    };
    let uploaded = AgentInput::OutputsUploaded { key, files: 2, bytes: 20, notes: vec!["a link".to_owned()] };
    assert_eq!(scene.step(uploaded), finished(key, 2, &outcome));
    assert_eq!(scene.step(AgentInput::Acked { through: 1 }), []);
    assert_eq!(scene.step(AgentInput::Acked { through: 2 }), [AgentEffect::Remove(key)]);
    assert_eq!(scene.step(AgentInput::Removed(key)), [AgentEffect::Journal(JournalRecord::Forgotten(key))]);
    assert!(scene.agent.is_empty());
    assert_eq!(scene.agent.next_wake(), None);
}

#[test]
fn logs_that_end_before_the_exit_is_known_count() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    assert_eq!(scene.step(AgentInput::LogsDrained(key(0), LogBytes::default())), []);
    assert_eq!(scene.step(AgentInput::Exited(key(0), exit(0))), exited(key(0), Verdict::Success, Some(0), 0));
    let refused = AgentInput::UploadFailed(key(0), "the disk is full".to_owned());
    let outcome =
        Outcome { output_notes: vec!["the disk is full".to_owned()], ..outcome(Verdict::Success, Some(0), 0) };
    assert_eq!(scene.step(refused), finished(key(0), 2, &outcome));
}

#[test]
fn outputs_that_are_there_before_the_log_count() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.step(AgentInput::Exited(key(0), exit(0)));
    assert_eq!(scene.step(AgentInput::OutputsUploaded { key: key(0), files: 4, bytes: 40, notes: Vec::new() }), []);
    let outcome = Outcome { output_files: 4, output_bytes: Some(40), ..outcome(Verdict::Success, Some(0), 0) };
    assert_eq!(scene.step(AgentInput::LogsDrained(key(0), LogBytes::default())), finished(key(0), 2, &outcome));
}

#[test]
fn the_clock_of_the_engine_is_used_where_it_has_one() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    let ended = Ended { started_at: Some(WallTime(70)), finished_at: Some(WallTime(80)), ..exit(0) };
    scene.step(AgentInput::Exited(key(0), ended));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(0), 2, &outcome(Verdict::Success, Some(70), 80)));
}

#[test]
fn a_duplicate_assignment_only_repeats_where_the_run_stands() {
    let mut scene = Scene::connected();
    scene.assign(0);
    let duplicate = || AgentInput::Assigned(vec![assignment(0)]);
    assert_eq!(scene.step(duplicate()), []);
    scene.step(AgentInput::ImageReady(key(0), None));
    assert_eq!(scene.step(duplicate()), []);
    scene.step(AgentInput::Created(key(0)));
    scene.step(AgentInput::Started(key(0)));
    assert_eq!(scene.step(duplicate()), [started(key(0), 2, 0)]);
    scene.step(AgentInput::Exited(key(0), exit(0)));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    let repeated = &finished(key(0), 4, &outcome(Verdict::Success, Some(0), 0))[1..];
    assert_eq!(scene.step(duplicate()), repeated);
    scene.step(AgentInput::Acked { through: 4 });
    assert_eq!(scene.step(duplicate()), []);
    scene.step(AgentInput::Removed(key(0)));
    assert_eq!(scene.step(duplicate()), [], "a late assignment of a run that is gone");
    assert!(scene.agent.is_empty());
}

#[test]
fn a_newer_run_of_an_element_stops_the_older_without_a_word() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    let newer = attempt(0, 2);
    let accepted = AgentEffect::Journal(JournalRecord::Accepted(Arc::new(assignment_of(newer))));
    let effects = scene.step(AgentInput::Assigned(vec![assignment_of(newer)]));
    assert_eq!(effects, [AgentEffect::Signal(key(0), StopSignal::Term), accepted, prepare(newer)]);
    assert_eq!(scene.step(AgentInput::Exited(key(0), exit(143))), [AgentEffect::Remove(key(0))]);
    assert_eq!(scene.agent.inventory(), [Held { key: newer, phase: Phase::Accepted }]);
}

#[test]
fn an_older_run_of_an_element_is_not_taken() {
    let mut scene = Scene::connected();
    scene.step(AgentInput::Assigned(vec![assignment_of(attempt(0, 2))]));
    assert_eq!(scene.step(AgentInput::Assigned(vec![assignment(0)])), []);
    let same_fence = AttemptKey { attempt: 3, ..attempt(0, 2) };
    assert_eq!(scene.step(AgentInput::Assigned(vec![assignment_of(same_fence)])), []);
    let other_element = AttemptKey { fence: Fence(1), ..key(1) };
    assert_eq!(scene.step(AgentInput::Assigned(vec![assignment_of(other_element)])).len(), 2);
}

#[test]
fn an_engine_in_trouble_is_asked_again_more_and_more_slowly() {
    let mut scene = Scene::connected();
    scene.assign(0);
    for pause in [200, 400, 800, 1600, 3200, 6400, 7000, 7000] {
        assert_eq!(scene.step(AgentInput::ImageFailed(key(0), engine())), []);
        assert_eq!(scene.agent.next_wake(), Some(BootTime(scene.now + pause)));
        assert_eq!(scene.step(AgentInput::Tick), [], "too early");
        assert_eq!(scene.wake(), [prepare(key(0))]);
    }
    scene.step(AgentInput::ImageReady(key(0), None));
    assert_eq!(scene.step(AgentInput::CreateFailed(key(0), engine())), []);
    assert_eq!(scene.wake(), [AgentEffect::Create(Arc::new(assignment(0)))]);
    scene.step(AgentInput::Created(key(0)));
    assert_eq!(scene.step(AgentInput::StartFailed(key(0), engine())), []);
    assert_eq!(scene.wake(), [AgentEffect::Start(key(0))]);
    scene.step(AgentInput::Started(key(0)));
    assert_eq!(scene.step(AgentInput::WaitFailed(key(0), engine())), []);
    assert_eq!(scene.wake(), [AgentEffect::Wait(key(0))]);
}

#[test]
fn an_image_that_was_removed_meanwhile_is_fetched_again_and_not_for_ever() {
    let mut scene = Scene::connected();
    scene.assign(0);
    let gone = || EngineError::ImageUnavailable("it was removed".to_owned());
    for _ in 0..3 {
        scene.step(AgentInput::ImageReady(key(0), None));
        let effects = scene.step(AgentInput::CreateFailed(key(0), gone()));
        assert_eq!(effects, [prepare(key(0))]);
    }
    scene.step(AgentInput::ImageReady(key(0), None));
    let effects = scene.step(AgentInput::CreateFailed(key(0), gone()));
    let verdict = Verdict::Image { message: "it was removed".to_owned() };
    assert_eq!(effects, finished(key(0), 1, &outcome(verdict, None, 0)));
}

#[test]
fn where_there_is_no_room_for_an_image_the_run_is_handed_back_at_once() {
    let mut scene = Scene::connected();
    scene.assign(0);
    let effects = scene.step(AgentInput::ImageFailed(key(0), EngineError::NoRoom("no room".to_owned())));
    let verdict = Verdict::Rejected { message: "no room".to_owned() };
    assert_eq!(effects, finished(key(0), 1, &outcome(verdict, None, 0)));
}

#[test]
fn what_can_never_be_is_said_at_once() {
    let mut scene = Scene::connected();
    scene.assign(0);
    let error = EngineError::ImageNotFound("no such image".to_owned());
    let verdict = Verdict::Image { message: "no such image".to_owned() };
    let effects = scene.step(AgentInput::ImageFailed(key(0), error));
    assert_eq!(effects, finished(key(0), 1, &outcome(verdict, None, 0)));

    let setup = || EngineError::Setup("no such command".to_owned());
    let verdict = || Verdict::Setup { message: "no such command".to_owned() };
    scene.assign(1);
    scene.step(AgentInput::ImageReady(key(1), None));
    let effects = scene.step(AgentInput::CreateFailed(key(1), setup()));
    assert_eq!(effects, finished(key(1), 2, &outcome(verdict(), None, 0)));

    scene.assign(2);
    scene.step(AgentInput::ImageReady(key(2), None));
    scene.step(AgentInput::Created(key(2)));
    let effects = scene.step(AgentInput::StartFailed(key(2), setup()));
    assert_eq!(effects, finished(key(2), 3, &outcome(verdict(), None, 0)));
}

#[test]
fn a_registry_that_does_not_answer_is_asked_for_five_minutes() {
    let mut scene = Scene::connected();
    scene.assign(0);
    let error = || EngineError::ImageUnavailable("timeout".to_owned());
    let began = scene.now;
    let mut asked = 0;
    let end = loop {
        let effects = scene.step(AgentInput::ImageFailed(key(0), error()));
        if !effects.is_empty() {
            break effects;
        }
        assert_eq!(scene.wake(), [prepare(key(0))]);
        asked += 1;
    };
    let now = i64::try_from(scene.now).expect("a small time");
    let verdict = Verdict::Image { message: "timeout".to_owned() };
    assert_eq!(end, finished(key(0), 1, &outcome(verdict, None, now)));
    let minutes = (scene.now - began) / 60_000;
    assert!((5..7).contains(&minutes) && asked < 15, "{asked} times in {minutes} min");
}

#[test]
fn an_engine_that_fails_for_long_hands_back_what_has_not_begun() {
    let engine = || EngineError::Engine("no space left on device".to_owned());
    for stage in ["prepare", "create"] {
        let mut scene = Scene::connected();
        scene.assign(0);
        if stage == "create" {
            scene.step(AgentInput::ImageReady(key(0), None));
        }
        let began = scene.now;
        let end = loop {
            let failed = match stage {
                "prepare" => AgentInput::ImageFailed(key(0), engine()),
                _ => AgentInput::CreateFailed(key(0), engine()),
            };
            let effects = scene.step(failed);
            if !effects.is_empty() {
                break effects;
            }
            scene.wake();
        };
        let now = i64::try_from(scene.now).expect("a small time");
        let message = "the container engine of the worker fails: no space left on device".to_owned();
        let verdict = Verdict::Rejected { message };
        assert!(verdict.is_infrastructure());
        assert_eq!(end, finished(key(0), 1, &outcome(verdict, None, now)));
        assert_eq!((scene.now - began) / 60_000, 5, "{stage}");
    }
}

/// The start fails again and again, until something is done about it or so many minutes are over.
fn fails_to_start(scene: &mut Scene, error: &EngineError, minutes: u64) -> Vec<AgentEffect> {
    let began = scene.now;
    loop {
        // The lease goes on.
        scene.step(AgentInput::Heard { sent: BootTime(scene.now) });
        let effects = scene.step(AgentInput::StartFailed(key(0), error.clone()));
        if !effects.is_empty() || scene.now - began > minutes * 60_000 {
            return effects;
        }
        assert_eq!(scene.wake(), [AgentEffect::Start(key(0))]);
    }
}

fn about_to_start(at_most_once: bool) -> Scene {
    let mut scene = Scene::connected();
    scene.step(AgentInput::Assigned(vec![Assignment { at_most_once, ..assignment(0) }]));
    scene.step(AgentInput::ImageReady(key(0), None));
    scene.step(AgentInput::Created(key(0)));
    scene
}

fn not_started() -> EngineError {
    EngineError::NotStarted("no space left on device".to_owned())
}

#[test]
fn a_start_that_fails_for_long_is_handed_back() {
    let handed_back =
        |message: &str| Verdict::Rejected { message: format!("the container engine of the worker fails: {message}") };
    for at_most_once in [false, true] {
        let mut scene = about_to_start(at_most_once);
        let end = fails_to_start(&mut scene, &not_started(), 10);
        assert_eq!(scene.now / 60_000, 5);
        let now = i64::try_from(scene.now).expect("a small time");
        let verdict = handed_back("no space left on device");
        assert!(verdict.is_infrastructure());
        assert_eq!(end, finished(key(0), 1, &outcome(verdict, None, now)));
    }
    // What may run after all is killed: the next run is elsewhere.
    let mut scene = about_to_start(false);
    let end = fails_to_start(&mut scene, &engine(), 10);
    assert_eq!(scene.now / 60_000, 5);
    let now = i64::try_from(scene.now).expect("a small time");
    assert_eq!(end[0], AgentEffect::Signal(key(0), StopSignal::Kill));
    assert_eq!(end[1..], finished(key(0), 1, &outcome(handed_back("no answer"), None, now)));
}

#[test]
fn what_may_run_once_at_most_is_not_handed_back_while_it_may_have_begun() {
    let mut scene = about_to_start(true);
    assert_eq!(fails_to_start(&mut scene, &engine(), 60), [], "the engine may carry it out yet");
    assert_eq!(scene.wake(), [AgentEffect::Start(key(0))]);
    let end = fails_to_start(&mut scene, &not_started(), 10);
    assert_eq!(end[0], AgentEffect::Signal(key(0), StopSignal::Kill));
    let now = i64::try_from(scene.now).expect("a small time");
    let verdict = Verdict::WorkerLost { message: "the container is gone".to_owned() };
    assert_eq!(end[1..], finished(key(0), 1, &outcome(verdict, Some(0), now)));
}

#[test]
fn a_container_that_vanishes_is_lost_with_what_it_left() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.now = 3;
    let verdict = Verdict::WorkerLost { message: "the container is gone".to_owned() };
    let effects = scene.step(AgentInput::WaitFailed(key(0), EngineError::NotFound));
    assert_eq!(effects, exited(key(0), verdict.clone(), Some(0), 3));
    let files = AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() };
    assert_eq!(scene.step(files), [], "what was read of its log comes before its end");
    let effects = scene.step(AgentInput::LogsDrained(key(0), LogBytes { stdout: 7, ..LogBytes::default() }));
    let expected = Outcome { stdout_bytes: 7, ..outcome(verdict, Some(0), 3) };
    assert_eq!(effects, finished(key(0), 2, &expected));
}

#[test]
fn a_command_that_was_never_run_is_a_setup_failure_and_not_waited_for_again() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.now = 3;
    let error = EngineError::Setup("exec nosuch failed".to_owned());
    let verdict = Verdict::Setup { message: "exec nosuch failed".to_owned() };
    assert_eq!(scene.step(AgentInput::WaitFailed(key(0), error)), exited(key(0), verdict.clone(), Some(0), 3));
    assert_eq!(scene.agent.next_wake(), None, "there is nothing to wait for");
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(0), 2, &outcome(verdict, Some(0), 3)));
}

#[test]
fn a_log_that_may_lack_its_end_is_said_to() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.step(AgentInput::LogsDrained(key(0), LogBytes { stdout: 7, stderr: 0, lacks_end: true }));
    scene.step(AgentInput::Exited(key(0), exit(0)));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    let notes = effects.iter().find_map(|effect| match effect {
        AgentEffect::Journal(JournalRecord::Finished { outcome, .. }) => Some(outcome.output_notes.clone()),
        _ => None,
    });
    assert!(notes.expect("it is over").iter().any(|note| note.contains("may lack its end")));
}
