use std::time::Duration;

use cloudaid_core::account::{AccountChange, UserRecord};
use cloudaid_core::effect::{Answer, Effect};
use cloudaid_core::event::Event;
use cloudaid_core::input::Input;
use cloudaid_core::login::{IDLE, LIFE, LOGINS_LIMIT, LoginChange, LoginKind, LoginRecord, OVERLAP};
use cloudaid_core::record::Change;
use cloudaid_core::reject::Reject;
use cloudaid_core::testkit::World;
use shared::id::{LoginId, UserName};
use shared::role::Role;
use shared::time::WallTime;

fn ann() -> UserName {
    "ann".parse().expect("a name")
}

fn with_ann() -> World {
    let mut world = World::default();
    let (name, password_hash) = (ann(), "hash".to_owned());
    let user = UserRecord { name, password_hash, role: Role::Admin, created_at: WallTime(7), disabled: false };
    world.ask(|request| Input::CreateFirstUser { request, user }).0.expect("made");
    world
}

fn login(world: &World, kind: LoginKind, number: u128) -> LoginRecord {
    let (id, user, now) = (LoginId(number.into()), ann(), world.now.wall);
    LoginRecord { id, user, kind, address: None, serial: 0, created_at: now, renewed_at: now }
}

/// The answer, and what was saved and told, in their order.
fn change(world: &mut World, change: LoginChange) -> (Result<Answer, Reject>, Vec<Effect>) {
    let (answer, mut effects) = world.ask(|request| Input::ChangeLogin { request, change });
    effects.retain(|effect| !matches!(effect, Effect::Reply(..)));
    (answer, effects)
}

fn begin(world: &mut World, kind: LoginKind, number: u128) -> LoginRecord {
    let login = login(world, kind, number);
    let begun = change(world, LoginChange::Begin { login: login.clone(), verified: Some("hash".into()) });
    assert_eq!(begun.0, Ok(Answer::Done));
    assert!(begun.1.ends_with(&both(login.id, Some(login.clone()))), "{begun:?}");
    login
}

fn renew(world: &mut World, login: &LoginRecord, serial: u32) -> (Result<Answer, Reject>, Vec<Effect>) {
    change(world, LoginChange::Renew(login.id, serial))
}

fn both(id: LoginId, record: Option<LoginRecord>) -> Vec<Effect> {
    let told = Effect::Publish(Event::LoginChanged { id, record: record.clone() });
    vec![Effect::Save(Change::Login(id, record)), told]
}

fn found(world: &World) -> Vec<LoginId> {
    world.cluster.logins().map(|login| login.id).collect()
}

#[test]
fn each_token_renews_once_and_for_a_minute_gives_the_same_again() {
    let mut world = with_ann();
    let login = begin(&mut world, LoginKind::Tool, 1);
    world.pass(Duration::from_secs(900));
    let next = LoginRecord { serial: 1, renewed_at: world.now.wall, ..login.clone() };
    assert_eq!(renew(&mut world, &login, 0), (Ok(Answer::Done), both(login.id, Some(next))));
    world.pass(OVERLAP - Duration::from_millis(1));
    assert_eq!(renew(&mut world, &login, 0), (Ok(Answer::Done), vec![]), "the answer may have been lost");
    renew(&mut world, &login, 1).0.expect("the new one works");
    world.restart();
    renew(&mut world, &login, 2).0.expect("and after a restart the next");
}

#[test]
fn a_token_that_was_replaced_ends_the_login_for_everybody() {
    for (serial, wait) in [(1, OVERLAP), (0, Duration::ZERO), (7, Duration::ZERO)] {
        let mut world = with_ann();
        let login = begin(&mut world, LoginKind::Tool, 1);
        let other = begin(&mut world, LoginKind::Tool, 2);
        for serial in 0..2 {
            renew(&mut world, &login, serial).0.expect("renewed");
        }
        world.pass(wait);
        let mut expected = both(login.id, None);
        expected.push(Effect::Publish(Event::LoginReused { id: login.id, user: ann() }));
        assert_eq!(renew(&mut world, &login, serial), (Err(Reject::LoginReused), expected), "{serial}");
        assert_eq!(renew(&mut world, &login, 2), (Err(Reject::LoginOver), vec![]), "the good one neither");
        assert_eq!(found(&world), [other.id], "other logins go on");
    }
}

#[test]
fn time_ends_a_login_used_or_not() {
    let day = Duration::from_secs(86_400);
    let mut world = with_ann();
    let login = begin(&mut world, LoginKind::Tool, 1);
    world.pass(IDLE);
    assert_eq!(renew(&mut world, &login, 0).0, Err(Reject::LoginOver));
    let login = begin(&mut world, LoginKind::Tool, 2);
    let local = begin(&mut world, LoginKind::Local, 3);
    let cookie = begin(&mut world, LoginKind::Browser, 4);
    for serial in 0..29 {
        world.pass(day);
        renew(&mut world, &login, serial).0.expect("it is used");
        change(&mut world, LoginChange::Used(cookie.id)).0.expect("it is used");
    }
    renew(&mut world, &local, 0).0.expect("nobody could log in again");
    world.pass(LIFE - 29 * day);
    assert_eq!(renew(&mut world, &login, 29).0, Err(Reject::LoginOver));
    let cookie = world.cluster.logins().find(|login| login.id == cookie.id).expect("kept until the next one");
    assert!(cookie.is_over(world.now.wall));
    renew(&mut world, &local, 1).0.expect("it was used");
    // The next login tidies up.
    let next = begin_quietly(&mut world, 5);
    assert_eq!(found(&world), [local.id, next]);
}

fn begin_quietly(world: &mut World, number: u128) -> LoginId {
    let login = login(world, LoginKind::Tool, number);
    let id = login.id;
    change(world, LoginChange::Begin { login, verified: None }).0.expect("begun");
    id
}

#[test]
fn of_too_many_logins_the_one_used_least_lately_ends() {
    let mut world = with_ann();
    let ids: Vec<_> = (1..=LOGINS_LIMIT as u128)
        .map(|number| {
            world.pass(Duration::from_secs(1));
            begin_quietly(&mut world, number)
        })
        .collect();
    world.pass(Duration::from_secs(1));
    change(&mut world, LoginChange::Renew(ids[0], 0)).0.expect("used");
    let last = begin_quietly(&mut world, 1000);
    assert_eq!(found(&world).len(), LOGINS_LIMIT);
    assert!(found(&world).contains(&ids[0]) && !found(&world).contains(&ids[1]) && found(&world).contains(&last));
}

#[test]
fn who_was_shut_out_meanwhile_does_not_get_in() {
    let mut world = with_ann();
    let stale = LoginChange::Begin { login: login(&world, LoginKind::Tool, 1), verified: Some("old hash".into()) };
    assert_eq!(change(&mut world, stale), (Err(Reject::LoginOver), vec![]));
    let eve = UserRecord {
        name: "eve".parse().expect("a name"),
        password_hash: "hash".into(),
        role: Role::User,
        created_at: WallTime(7),
        disabled: true,
    };
    let (name, create) = (eve.name.clone(), AccountChange::Create(eve.clone()));
    world.ask(|request| Input::ChangeAccount { request, name, change: create }).0.expect("made");
    let login = LoginRecord { user: eve.name, ..login(&world, LoginKind::Tool, 2) };
    assert_eq!(change(&mut world, LoginChange::Begin { login, verified: None }).0, Err(Reject::LoginOver));
}

#[test]
fn a_login_that_ended_is_not_used() {
    let mut world = with_ann();
    let login = begin(&mut world, LoginKind::Browser, 1);
    assert_eq!(change(&mut world, LoginChange::End(login.id)), (Ok(Answer::Done), both(login.id, None)));
    for late in [LoginChange::End(login.id), LoginChange::Used(login.id)] {
        assert_eq!(change(&mut world, late), (Ok(Answer::Done), vec![]));
    }
    assert_eq!(renew(&mut world, &login, 0).0, Err(Reject::LoginOver));
}
