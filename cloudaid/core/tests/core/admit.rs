//! Workers of the first generation: registered by an admin, or asking to be let in.

use std::net::SocketAddr;
use std::sync::Arc;

use cloudaid_core::admission::{Admission, PENDING_LIMIT, PENDING_PER_ADDRESS, PendingRecord, Proof};
use cloudaid_core::effect::Answer;
use cloudaid_core::input::{Input, Submission};
use cloudaid_core::reject::Reject;
use cloudaid_core::testkit::{World, assigned, brief};
use shared::id::{SessionId, WorkerId};
use shared::resources::Resources;
use shared::task::{Command, TaskSpec};
use shared::worker::WorkerProtocol;

fn name(text: &str) -> WorkerId {
    text.parse().expect("a name")
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn register(world: &mut World, worker: &str, address: &str) -> Result<Answer, Reject> {
    let (worker, address) = (name(worker), at(address));
    world.ask(|request| Input::RegisterWorker { request, worker, address }).0
}

fn announce(world: &mut World, worker: &str, address: &str, open: bool) -> Result<Answer, Reject> {
    let (worker, address, since) = (name(worker), at(address), world.now.wall);
    let asking = PendingRecord { worker, address, capacity: Resources::TASK_DEFAULT, since };
    world.ask(|request| Input::WorkerAnnounced { request, asking, open }).0
}

fn approve(world: &mut World, worker: &str, address: Option<&str>) -> Result<Answer, Reject> {
    let (worker, address) = (name(worker), address.map(at));
    world.ask(|request| Input::ApproveWorker { request, worker, address }).0
}

#[test]
fn a_registered_worker_is_known_by_its_address() {
    let mut world = World::default();
    assert_eq!(register(&mut world, "a", "10.0.0.1:50052"), Ok(Answer::Done));
    assert_eq!(register(&mut world, "a", "10.0.0.1:50052"), Ok(Answer::Done), "again is no error");
    let elsewhere = Reject::RegisteredElsewhere(name("a"), at("10.0.0.1:50052"));
    assert_eq!(register(&mut world, "a", "10.0.0.2:50052"), Err(elsewhere.clone()));
    assert_eq!(announce(&mut world, "a", "10.0.0.1:41000", false), Ok(Answer::Admitted(at("10.0.0.1:50052"))));
    assert_eq!(announce(&mut world, "a", "10.0.0.2:41000", true), Err(elsewhere));
    assert_eq!(world.cluster.worker_views()[0].protocol, WorkerProtocol::Seed);
    assert_eq!(world.admit("a"), Proof::Dialed(at("10.0.0.1:50052")));
    world.restart();
    assert_eq!(world.admit("a"), Proof::Dialed(at("10.0.0.1:50052")));
}

/// A worker of the first generation that is there, as the link to it says.
fn connect(world: &mut World, worker: &str) -> SessionId {
    register(world, worker, "10.0.0.1:50052").expect("registered");
    world.connect(worker, 4, vec![]).0.session
}

#[test]
fn what_cannot_be_told_to_a_worker_of_the_first_generation_waits_for_another() {
    let mut world = World::default();
    connect(&mut world, "old");
    let env = [("A".to_owned(), "1".to_owned())];
    let told = |spec: TaskSpec| TaskSpec { env: env.clone().into(), command: Command::Shell("true".into()), ..spec };
    let untold = |spec: TaskSpec| TaskSpec { env: env.clone().into(), command: Command::ImageDefault, ..spec };
    let submission = world.submission(1, 1);
    let spec = Arc::new(told(TaskSpec::clone(&submission.spec)));
    let (_, effects) = world.submit_this(Submission { spec, ..submission });
    assert_eq!(assigned(&effects).len(), 1);
    let submission = world.submission(1, 1);
    let spec = Arc::new(untold(TaskSpec::clone(&submission.spec)));
    let (id, effects) = world.submit_this(Submission { spec, ..submission });
    assert!(assigned(&effects).is_empty(), "{effects:?}");
    let why = world.cluster.why(id.into()).expect("it waits");
    assert!(why.can_never_run && why.summary.contains("first generation"), "{why:?}");
    let (_, effects) = world.connect("new", 4, vec![]);
    assert_eq!(assigned(&effects).len(), 1, "it is told to who understands it");
}

#[test]
fn who_has_a_certificate_is_not_replaced_by_who_has_none() {
    let mut world = World::default();
    world.admit("a");
    let exists = Err(Reject::WorkerExists(name("a")));
    assert_eq!(register(&mut world, "a", "10.0.0.1:50052"), exists);
    assert_eq!(announce(&mut world, "a", "10.0.0.1:50052", true), exists);
}

#[test]
fn who_is_not_known_waits_until_an_admin_lets_it_in() {
    let mut world = World::default();
    assert_eq!(announce(&mut world, "a", "10.0.0.1:50052", false), Ok(Answer::Waits));
    let other = Reject::RegisteredElsewhere(name("a"), at("10.0.0.1:50052"));
    assert_eq!(announce(&mut world, "a", "10.9.9.9:50052", false), Err(other), "the first one keeps its place");
    world.restart();
    assert_eq!(world.cluster.pending_workers().count(), 1);
    assert_eq!(approve(&mut world, "b", None), Err(Reject::NotPending(name("b"))));
    assert_eq!(approve(&mut world, "a", None), Ok(Answer::Done));
    assert_eq!(world.cluster.pending_workers().count() + world.saved.snapshot.pending.len(), 0);
    assert_eq!(announce(&mut world, "a", "10.0.0.1:50052", false), Ok(Answer::Admitted(at("10.0.0.1:50052"))));
    announce(&mut world, "b", "10.0.0.3:50052", false).expect("waits");
    assert_eq!(approve(&mut world, "b", Some("10.0.0.3:7000")), Ok(Answer::Done), "at another port");
    assert_eq!(world.admit("b"), Proof::Dialed(at("10.0.0.3:7000")));
}

#[test]
fn where_it_is_open_nobody_waits() {
    let mut world = World::default();
    assert_eq!(announce(&mut world, "a", "10.0.0.1:50052", true), Ok(Answer::Admitted(at("10.0.0.1:50052"))));
    assert!(world.cluster.admissions().all(|(_, admission)| matches!(admission, Admission::Dialed(_))));
}

#[test]
fn who_waits_can_be_sent_away_and_there_is_an_end_to_waiting() {
    let mut world = World::default();
    let address = |number: usize| format!("10.0.{}.1:50052", number / PENDING_PER_ADDRESS);
    for number in 0..PENDING_PER_ADDRESS {
        announce(&mut world, &format!("w{number}"), &address(number), false).expect("waits");
    }
    let beside = announce(&mut world, "beside", &address(0), false);
    assert_eq!(beside, Err(Reject::TooManyWorkers), "nobody takes all the places");
    for number in PENDING_PER_ADDRESS..PENDING_LIMIT {
        announce(&mut world, &format!("w{number}"), &address(number), false).expect("waits");
    }
    assert_eq!(announce(&mut world, "more", "10.9.0.1:50052", false), Err(Reject::TooManyWorkers));
    assert_eq!(announce(&mut world, "w3", &address(3), false), Ok(Answer::Waits), "who waits may ask again");
    let (answer, _) = world.ask(|request| Input::UnregisterWorker { request, worker: name("w3") });
    assert_eq!(answer, Ok(Answer::Done));
    assert_eq!(announce(&mut world, "more", "10.9.0.1:50052", false), Ok(Answer::Waits));
}

#[test]
fn at_one_address_there_is_one_worker() {
    let mut world = World::default();
    register(&mut world, "a", "10.0.0.1:50052").expect("registered");
    let taken = Err(Reject::AddressTaken(at("10.0.0.1:50052"), name("a")));
    assert_eq!(register(&mut world, "b", "10.0.0.1:50052"), taken);
    assert_eq!(announce(&mut world, "b", "10.0.0.1:50052", true), taken);
    assert_eq!(register(&mut world, "b", "10.0.0.1:50053"), Ok(Answer::Done), "another port is another worker");
}

#[test]
fn who_asks_again_costs_no_commit() {
    let mut world = World::default();
    announce(&mut world, "a", "10.0.0.1:50052", false).expect("waits");
    let (worker, address, since) = (name("a"), at("10.0.0.1:50052"), world.now.wall);
    let asking = PendingRecord { worker, address, capacity: Resources::TASK_DEFAULT, since };
    let effects = world.ask(|request| Input::WorkerAnnounced { request, asking, open: false }).1;
    assert_eq!(brief(&effects), ["reply waits"]);
}
