//! What the master says and hears.

use super::*;

#[test]
fn each_session_begins_with_where_every_run_stands() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.assign_and_start(1);
    scene.assign(2);
    assert_eq!(scene.step(AgentInput::Disconnected), []);
    scene.step(AgentInput::Exited(key(1), exit(0)));
    scene.step(AgentInput::LogsDrained(key(1), LogBytes::default()));
    let outcome = outcome(Verdict::Success, Some(0), 0);
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(1), files: 0, bytes: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(1), 0, &outcome)[..1], "nothing is said without a session");
    let held = [(0, Phase::Running), (1, Phase::Finished), (2, Phase::Accepted)];
    assert_eq!(scene.agent.inventory(), held.map(|(index, phase)| Held { key: key(index), phase }));
    let keep = (0..3).map(|index| (key(index), Decision::Keep)).collect();
    let report = finished(key(1), 2, &outcome).remove(1);
    assert_eq!(scene.step(AgentInput::Connected(welcome(keep))), [started(key(0), 1, 0), report.clone()]);
    assert_eq!(scene.step(AgentInput::Disconnected), []);
    assert_eq!(scene.step(AgentInput::Acked { through: 2 }), [], "of a session that is over");
    assert_eq!(scene.step(AgentInput::Connected(welcome(Vec::new()))), [started(key(0), 1, 0), report]);
    assert_eq!(scene.step(AgentInput::Acked { through: u64::MAX }), [AgentEffect::Remove(key(1))]);
}

#[test]
fn what_waits_to_be_said_takes_no_number() {
    let mut scene = Scene::connected();
    scene.assign(0);
    scene.assign(1);
    let mut ends = |index| {
        let mut effects = Vec::new();
        let order = CancelOrder { key: key(index), grace: GRACE, time_limit: None };
        scene.agent.step(at(0), AgentInput::Cancelled(vec![order]), &mut effects);
        match effects.pop() {
            Some(AgentEffect::Report(report)) => report,
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (ends(0), ends(1));
    // The first has to wait for its record.
    assert_eq!(scene.agent.say(second.clone()), Some(Report { sequence: 1, ..second }));
    assert_eq!(scene.step(AgentInput::Acked { through: 1 }), [AgentEffect::Remove(key(1))]);
    assert_eq!(scene.agent.say(first.clone()), Some(Report { sequence: 2, ..first.clone() }));
    assert_eq!(scene.step(AgentInput::Acked { through: 2 }), [AgentEffect::Remove(key(0))]);
    scene.step(AgentInput::Disconnected);
    assert_eq!(scene.agent.say(first), None, "it was for the session that is over");
}

#[test]
fn what_the_master_gave_up_is_stopped_and_removed_without_a_word() {
    let mut scene = Scene::connected();
    (0..4).for_each(|index| scene.assign_and_start(index));
    scene.assign(4);
    scene.step(AgentInput::Exited(key(1), exit(0)));
    scene.step(AgentInput::Disconnected);
    let decisions = vec![
        (key(0), Decision::Stop),
        (key(1), Decision::Stop),
        (key(2), Decision::Forget),
        (key(3), Decision::Keep),
        (key(4), Decision::Stop),
        (key(9), Decision::Stop),
    ];
    assert_eq!(
        scene.step(AgentInput::Connected(welcome(decisions))),
        [
            AgentEffect::Signal(key(0), StopSignal::Term),
            AgentEffect::Remove(key(1)),
            AgentEffect::Remove(key(2)),
            AgentEffect::Remove(key(4)),
            started(key(3), 1, 0),
        ]
    );
    assert_eq!(scene.agent.inventory(), [Held { key: key(3), phase: Phase::Running }]);
    assert_eq!(scene.wake(), [AgentEffect::Signal(key(0), StopSignal::Kill)]);
    assert_eq!(scene.step(AgentInput::Exited(key(0), exit(137))), [AgentEffect::Remove(key(0))]);
    assert_eq!(scene.step(AgentInput::OutputsUploaded { key: key(1), files: 0, bytes: 0, notes: Vec::new() }), []);
}

#[test]
fn what_is_given_up_while_the_engine_works_on_it_is_removed_when_it_answers() {
    let mut scene = Scene::connected();
    scene.assign(0);
    scene.step(AgentInput::ImageReady(key(0), None));
    assert_eq!(scene.step(AgentInput::Connected(welcome(vec![(key(0), Decision::Stop)]))), []);
    assert_eq!(scene.step(AgentInput::Created(key(0))), [AgentEffect::Remove(key(0))]);
}

#[test]
fn removing_is_tried_until_it_is_done() {
    let mut scene = Scene::connected();
    scene.assign(0);
    scene.cancel(0, GRACE);
    assert_eq!(scene.step(AgentInput::Removed(key(0))), [], "nobody asked for it");
    assert_eq!(scene.step(AgentInput::Acked { through: 1 }), [AgentEffect::Remove(key(0))]);
    assert_eq!(scene.step(AgentInput::RemoveFailed(key(0))), []);
    assert_eq!(scene.wake(), [AgentEffect::Remove(key(0))]);
    assert_eq!(scene.step(AgentInput::Removed(key(0))), [AgentEffect::Journal(JournalRecord::Forgotten(key(0)))]);
}

#[test]
fn nothing_is_taken_on_while_the_process_ends() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    assert_eq!(scene.step(AgentInput::Shutdown), []);
    assert_eq!(scene.step(AgentInput::Assigned(vec![assignment(1)])), []);
    assert_eq!(scene.agent.inventory(), [Held { key: key(0), phase: Phase::Running }]);
}
