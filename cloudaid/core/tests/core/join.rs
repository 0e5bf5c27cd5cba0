//! Workers join with a token, are known by what they got, and are taken out again.

use std::time::Duration;

use cloudaid_core::admission::{
    Admission, IdentityId, JOIN_TOKENS_LIMIT, JoinTokenChange, JoinTokenRecord, Joining, Proof,
};
use cloudaid_core::effect::{Answer, Effect};
use cloudaid_core::input::Input;
use cloudaid_core::reject::Reject;
use cloudaid_core::testkit::{World, assigned, brief};
use shared::id::WorkerId;
use shared::link::{Decision, Phase};

fn name(text: &str) -> WorkerId {
    text.parse().expect("a name")
}

fn joining(token: &JoinTokenRecord, worker: &str, identity: u64) -> Joining {
    let (digest, key) = (token.digest, [identity as u8; 32]);
    Joining { token: token.id, digest, worker: name(worker), key, identity: IdentityId(identity) }
}

fn join(world: &mut World, joining: &Joining) -> Result<u64, Reject> {
    let joining = joining.clone();
    let (answer, _) = world.ask(|request| Input::JoinWorker { request, joining });
    match answer? {
        Answer::Joined(identity) => Ok(identity.id.0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_lets_in_as_many_as_it_says() {
    let mut world = World::default();
    let token = world.join_token(None, 2);
    assert_eq!(join(&mut world, &joining(&token, "a", 1)), Ok(1));
    world.restart();
    assert_eq!(join(&mut world, &joining(&token, "b", 2)), Ok(2));
    assert_eq!(join(&mut world, &joining(&token, "c", 3)), Err(Reject::JoinTokenOver("was used already")));
    assert_eq!(world.cluster.admissions().count(), 2);
    assert_eq!(world.saved.snapshot.workers.len(), 2);
}

#[test]
fn whoever_lost_the_answer_gets_the_same_again_and_nobody_else_does() {
    let mut world = World::default();
    let token = world.join_token(Some(name("a")), 1);
    let first = joining(&token, "a", 1);
    assert_eq!(join(&mut world, &first), Ok(1));
    assert_eq!(join(&mut world, &Joining { identity: IdentityId(9), ..first.clone() }), Ok(1));
    let stolen = Joining { key: [8; 32], ..first };
    assert_eq!(join(&mut world, &stolen), Err(Reject::JoinTokenOver("was used already")));
}

#[test]
fn a_token_is_for_its_name_its_time_and_its_secret() {
    let mut world = World::default();
    let token = world.join_token(Some(name("a")), 5);
    assert_eq!(join(&mut world, &joining(&token, "b", 1)), Err(Reject::JoinTokenForAnother(name("a"))));
    let guessed = Joining { digest: [0; 32], ..joining(&token, "a", 1) };
    assert_eq!(join(&mut world, &guessed), Err(Reject::JoinTokenUnknown));
    world.pass(Duration::from_secs(900));
    assert_eq!(join(&mut world, &joining(&token, "a", 1)), Err(Reject::JoinTokenOver("has run out")));
    let (answer, _) = world.ask(|request| {
        let change = JoinTokenChange::Revoke(token.id);
        Input::ChangeJoinToken { request, change }
    });
    assert_eq!(answer, Ok(Answer::Done));
    assert_eq!(join(&mut world, &joining(&token, "a", 1)), Err(Reject::JoinTokenUnknown));
}

#[test]
fn a_name_that_is_taken_is_given_again_only_to_who_was_meant() {
    let mut world = World::default();
    let (link, _) = world.connect("a", 4, vec![]);
    let any = world.join_token(None, 1);
    assert_eq!(join(&mut world, &joining(&any, "a", 1)), Err(Reject::WorkerExists(name("a"))));
    let token = world.join_token(Some(name("a")), 1);
    let joining = joining(&token, "a", 77);
    let (answer, effects) = world.ask(|request| Input::JoinWorker { request, joining });
    assert!(answer.is_ok());
    assert!(effects.contains(&Effect::Close(link.session, Reject::Replaced(name("a")))), "{effects:?}");
    assert!(
        world.cluster.admissions().all(|(_, admission)| admission.is_proved_by(Proof::Certificate(IdentityId(77))))
    );
}

#[test]
fn who_has_not_proved_who_it_is_is_refused() {
    let mut world = World::default();
    world.admit("a");
    let session = shared::id::SessionId(9);
    for (worker, proof) in [
        ("a", Proof::Certificate(IdentityId(12345))),
        ("a", Proof::Dialed("10.0.0.1:50052".parse().expect("an address"))),
        ("b", Proof::Certificate(IdentityId(1))),
    ] {
        let hello = shared::link::Hello {
            worker: name(worker),
            protocol: shared::link::PROTOCOL,
            facts: Default::default(),
            incarnation: String::new(),
            inventory: vec![],
            problem: None,
            ill_gpus: vec![],
        };
        let effects = world.step(Input::WorkerConnected { session, proof, hello });
        assert_eq!(effects, [Effect::Close(session, Reject::NotAdmitted(name(worker)))]);
    }
}

#[test]
fn the_pool_is_the_tokens_choice() {
    let mut world = World::default();
    let token = JoinTokenRecord { pool: Some("gpu".into()), ..world.join_token(Some(name("a")), 1) };
    let change = JoinTokenChange::Create(token.clone());
    world.ask(|request| Input::ChangeJoinToken { request, change }).0.expect("made");
    join(&mut world, &joining(&token, "a", 1)).expect("joined");
    world.connect("a", 4, vec![]);
    assert_eq!(world.saved.snapshot.workers[0].facts.labels["pool"], "gpu");
}

#[test]
fn a_worker_that_is_taken_out_loses_everything() {
    let mut world = World::default();
    let (link, _) = world.connect("a", 4, vec![]);
    let (task, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    world.started(&link, key);
    let proof = world.admit("a");
    let (answer, effects) = world.ask(|request| Input::UnregisterWorker { request, worker: name("a") });
    assert_eq!(answer, Ok(Answer::Done));
    assert_eq!(
        brief(&effects),
        [
            "s2 decide Stop 2.0#1",
            "close s2: Unregistered(WorkerId(\"a\"))",
            "save attempt 2.0#1 on a Ended worker lost: a was unregistered",
            "save worker a is no more",
            "reply done",
            "save progress 2 queued",
        ]
    );
    assert!(world.saved.snapshot.workers.is_empty());
    // What it still says is heard no more, and its certificate opens nothing.
    let late = world.finished(&link, key, shared::task::Verdict::Success);
    assert!(brief(&late).is_empty(), "{late:?}");
    assert!(!world.cluster.admissions().any(|(_, admission)| admission.is_proved_by(proof)));
    let (_, effects) = world.connect("b", 4, vec![]);
    assert_eq!(assigned(&effects)[0].1.key.task, task);
    let (answer, _) = world.ask(|request| Input::UnregisterWorker { request, worker: name("a") });
    assert!(matches!(answer, Err(Reject::WorkerNotFound { .. })));
}

#[test]
fn a_worker_from_before_certificates_has_to_join() {
    let mut world = World::default();
    let (_, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    world.saved.snapshot.workers[0].admission = Admission::None;
    world.restart();
    let token = world.join_token(None, 1);
    assert_eq!(join(&mut world, &joining(&token, "a", 5)), Ok(5), "the name is its own");
    let held = shared::link::Held { key, phase: Phase::Running };
    let (_, effects) = world.connect("a", 4, vec![held]);
    let kept = effects.iter().any(|effect| match effect {
        Effect::Send(_, shared::link::ToWorker::Welcome(welcome)) => welcome.decisions == [(key, Decision::Keep)],
        _ => false,
    });
    assert!(kept, "{effects:?}");
}

#[test]
fn tokens_that_nobody_can_use_make_room() {
    let mut world = World::default();
    for _ in 1..JOIN_TOKENS_LIMIT {
        world.join_token(None, 1);
    }
    let last = world.join_token(None, 1);
    let one_more = JoinTokenRecord { id: shared::id::TokenId(u128::MAX.into()), ..last };
    let change = JoinTokenChange::Create(one_more);
    let (answer, _) = world.ask(|request| Input::ChangeJoinToken { request, change: change.clone() });
    assert_eq!(answer, Err(Reject::TooManyJoinTokens));
    world.pass(Duration::from_secs(900));
    world.ask(|request| Input::ChangeJoinToken { request, change }).0.expect("there is room");
    assert_eq!(world.saved.snapshot.join_tokens.len(), 1);
}
