//! A worker that is being stopped and does not leave its runs alone.

use super::*;

#[test]
fn who_waits_for_the_ends_takes_nothing_new() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    assert_eq!(scene.step(AgentInput::Leave { hand_back: false }), []);
    assert!(!scene.agent.may_leave(false));
    let effects = scene.step(AgentInput::Assigned(vec![assignment(1)]));
    let refused = effects.iter().any(|effect| {
        matches!(effect, AgentEffect::Report(Report { change: AttemptChange::Finished(outcome), .. })
            if matches!(outcome.verdict, Verdict::Rejected { .. }))
    });
    assert!(refused, "{effects:?}");
    scene.step(AgentInput::Acked { through: 2 });
    scene.step(AgentInput::Removed(key(1)));
    scene.step(AgentInput::Exited(key(0), exit(0)));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    assert!(!scene.agent.may_leave(false), "the master does not know yet");
    scene.step(AgentInput::Acked { through: 3 });
    scene.step(AgentInput::Removed(key(0)));
    assert!(scene.agent.may_leave(false));
}

#[test]
fn what_is_handed_back_is_stopped_and_said_to_be_nobodys_fault() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.assign(1);
    let once = Assignment { at_most_once: true, ..assignment(2) };
    scene.step(AgentInput::Assigned(vec![once]));
    scene.step(AgentInput::ImageReady(key(2), None));
    scene.step(AgentInput::Created(key(2)));
    scene.step(AgentInput::Started(key(2)));
    let effects = scene.step(AgentInput::Leave { hand_back: true });
    let order = StopOrder { grace: GRACE, reason: StopReason::HandedBack };
    assert_eq!(effects[0], AgentEffect::Journal(JournalRecord::Stopping { key: key(0), order }));
    assert_eq!(effects[1], AgentEffect::Signal(key(0), StopSignal::Term));
    assert!(!effects.iter().any(|effect| *effect == AgentEffect::Signal(key(2), StopSignal::Term)), "it may run once");
    let effects = scene.step(AgentInput::Exited(key(0), exit(143)));
    let lost = |effect: &AgentEffect| matches!(effect, AgentEffect::Journal(JournalRecord::Exited { exited, .. }) if exited.verdict.is_infrastructure());
    assert!(effects.iter().any(lost), "{effects:?}");
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, bytes: 0, notes: Vec::new() });
    scene.step(AgentInput::Acked { through: 9 });
    for key in [key(0), key(1)] {
        scene.step(AgentInput::Removed(key));
    }
    assert!(scene.agent.may_leave(true) && !scene.agent.may_leave(false));
}
