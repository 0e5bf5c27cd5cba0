//! Ending a run from outside.

use super::*;

#[test]
fn cancelling_before_the_start_ends_it_without_one() {
    let mut scene = Scene::connected();
    scene.assign(0);
    assert_eq!(scene.cancel(0, GRACE), finished(key(0), 1, &outcome(Verdict::Cancelled, None, 0)));
    assert_eq!(scene.step(AgentInput::ImageReady(key(0), None)), [], "a late answer");

    scene.assign(1);
    scene.step(AgentInput::ImageReady(key(1), None));
    assert_eq!(scene.cancel(1, GRACE), [stopping(key(1), GRACE)], "the container is just being made");
    let effects = scene.step(AgentInput::Created(key(1)));
    assert_eq!(effects, finished(key(1), 2, &outcome(Verdict::Cancelled, None, 0)));
}

#[test]
fn cancelling_during_the_start_stops_it_when_it_runs() {
    let mut scene = Scene::connected();
    scene.assign(0);
    scene.step(AgentInput::ImageReady(key(0), None));
    scene.step(AgentInput::Created(key(0)));
    assert_eq!(scene.cancel(0, GRACE), [stopping(key(0), GRACE)]);
    assert_eq!(
        scene.step(AgentInput::Started(key(0))),
        [watched(key(0)), vec![started(key(0), 1, 0), AgentEffect::Signal(key(0), StopSignal::Term)]].concat()
    );
}

#[test]
fn a_failed_start_of_a_cancelled_run_is_not_tried_again() {
    let mut scene = Scene::connected();
    scene.assign(0);
    scene.step(AgentInput::ImageReady(key(0), None));
    scene.step(AgentInput::Created(key(0)));
    scene.cancel(0, GRACE);
    let effects = scene.step(AgentInput::StartFailed(key(0), engine()));
    assert_eq!(effects[0], AgentEffect::Signal(key(0), StopSignal::Kill));
    assert_eq!(effects[1..], finished(key(0), 1, &outcome(Verdict::Cancelled, None, 0)));
}

#[test]
fn cancelling_what_runs_asks_then_kills() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    let term = AgentEffect::Signal(key(0), StopSignal::Term);
    let kill = AgentEffect::Signal(key(0), StopSignal::Kill);
    assert_eq!(scene.cancel(0, GRACE), [stopping(key(0), GRACE), term]);
    assert_eq!(scene.agent.next_wake(), Some(BootTime(10_000)));
    assert_eq!(scene.cancel(0, Duration::from_secs(2)), [], "less patience is heard");
    assert_eq!(scene.agent.next_wake(), Some(BootTime(2_000)));
    assert_eq!(scene.wake(), std::slice::from_ref(&kill));
    assert_eq!(scene.wake(), [kill], "an engine may have missed it");
    scene.step(AgentInput::Exited(key(0), exit(137)));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(0), 2, &outcome(Verdict::Cancelled, Some(0), 9_000)));
}

#[test]
fn what_ended_by_itself_before_the_cancel_keeps_its_end() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.step(AgentInput::Exited(key(0), exit(0)));
    assert_eq!(scene.cancel(0, GRACE), []);
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(0), 2, &outcome(Verdict::Success, Some(0), 0)));
    assert_eq!(scene.cancel(0, GRACE), []);
    assert_eq!(scene.cancel(7, GRACE), [], "unknown here");
}
