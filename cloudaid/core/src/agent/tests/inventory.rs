//! What is held, compared with the containers that are there.

use shared::link::Inventory;

use super::*;

const HORIZON: Fence = Fence(9999);

/// The master asks; returns the order to the engine.
fn inquire(scene: &mut Scene) -> Vec<AttemptKey> {
    let effects = scene.step(AgentInput::Inquired { horizon: HORIZON });
    let [AgentEffect::ListContainers { horizon: HORIZON, watched }] = effects.as_slice() else { panic!("{effects:?}") };
    watched.clone()
}

fn listed(
    scene: &mut Scene,
    watched: Vec<AttemptKey>,
    found: &[(AttemptKey, ContainerState)],
) -> (Inventory, Vec<AgentEffect>) {
    let found = Ok(found.iter().map(|&(key, state)| FoundContainer { key, state, limits: None }).collect());
    let mut effects = scene.step(AgentInput::Listed { horizon: HORIZON, watched, found });
    let Some(AgentEffect::Answer(inventory)) = effects.pop() else { panic!("{effects:?}") };
    (inventory, effects)
}

fn held(key: AttemptKey, phase: Phase) -> Held {
    Held { key, phase }
}

#[test]
fn what_is_as_it_should_be_is_only_told() {
    let mut scene = Scene::connected();
    scene.assign_and_start(1);
    scene.assign(2);
    let watched = inquire(&mut scene);
    assert_eq!(watched, [key(1)], "the other has no container yet");
    let (inventory, effects) = listed(&mut scene, watched, &[(key(1), ContainerState::Running)]);
    assert_eq!(effects, []);
    let expected = Inventory {
        horizon: HORIZON,
        held: vec![held(key(1), Phase::Running), held(key(2), Phase::Accepted)],
        adopted: vec![],
        leaving: vec![],
        lost: vec![],
        containers: 1,
        problem: None,
    };
    assert_eq!(inventory, expected);
}

#[test]
fn a_container_that_nobody_knows_is_taken_up_and_goes_when_the_master_does_not_want_it() {
    let mut scene = Scene::connected();
    let watched = inquire(&mut scene);
    let (inventory, effects) = listed(&mut scene, watched, &[(key(7), ContainerState::Running)]);
    assert_eq!((inventory.adopted, inventory.held), (vec![key(7)], vec![held(key(7), Phase::Running)]));
    assert_eq!(effects[0], AgentEffect::Journal(JournalRecord::Adopted(key(7))));
    let effects = scene.step(AgentInput::Decided(vec![(key(7), Decision::Stop)]));
    assert_eq!(effects, [AgentEffect::Signal(key(7), StopSignal::Term)]);
    // Until it is gone, whoever asks again hears that it is on its way out.
    let watched = inquire(&mut scene);
    let (inventory, _) = listed(&mut scene, watched, &[(key(7), ContainerState::Running)]);
    assert_eq!((inventory.leaving, inventory.held, inventory.adopted), (vec![key(7)], vec![], vec![]));
    assert_eq!(scene.step(AgentInput::Exited(key(7), exit(143))), [AgentEffect::Remove(key(7))]);
}

#[test]
fn a_container_that_the_master_wants_goes_on_and_is_reported() {
    let mut scene = Scene::connected();
    let watched = inquire(&mut scene);
    listed(&mut scene, watched, &[(key(7), ContainerState::Running)]);
    let effects = scene.step(AgentInput::Decided(vec![(key(7), Decision::Keep)]));
    assert!(matches!(effects.as_slice(), [AgentEffect::Report(_)]), "{effects:?}");
}

#[test]
fn a_run_whose_container_is_gone_ends() {
    let mut scene = Scene::connected();
    scene.assign_and_start(1);
    let watched = inquire(&mut scene);
    let (inventory, effects) = listed(&mut scene, watched, &[]);
    assert_eq!((inventory.lost, inventory.held), (vec![key(1)], vec![held(key(1), Phase::Finished)]));
    let verdict = Verdict::WorkerLost { message: "the container is gone".to_owned() };
    assert_eq!(effects, exited(key(1), verdict, Some(0), 0));
}

#[test]
fn what_changed_while_the_engine_looked_is_no_difference() {
    let mut scene = Scene::connected();
    scene.assign_and_start(1);
    scene.assign_and_start(2);
    let watched = inquire(&mut scene);
    // One ends and is removed, one starts, after the engine has looked.
    scene.step(AgentInput::Exited(key(1), exit(0)));
    scene.step(AgentInput::LogsDrained(key(1), LogBytes::default()));
    scene.step(AgentInput::OutputsUploaded { key: key(1), files: 0, bytes: 0, notes: vec![] });
    scene.step(AgentInput::Acked { through: 3 });
    scene.step(AgentInput::Removed(key(1)));
    scene.assign_and_start(3);
    let (inventory, effects) =
        listed(&mut scene, watched, &[(key(1), ContainerState::Running), (key(2), ContainerState::Running)]);
    assert_eq!((inventory.adopted, inventory.lost, effects), (vec![], vec![], vec![]));
}

#[test]
fn an_engine_that_cannot_be_asked_is_said_to_be_so() {
    let mut scene = Scene::connected();
    scene.assign_and_start(1);
    let watched = inquire(&mut scene);
    let effects = scene.step(AgentInput::Listed { horizon: HORIZON, watched, found: Err("no engine".to_owned()) });
    let [AgentEffect::Answer(inventory)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(inventory.problem.as_deref(), Some("no engine"));
    assert_eq!(inventory.held, [held(key(1), Phase::Running)]);
}
