use cloudaid_core::account::{AccountChange, TOKENS_LIMIT, TokenChange, TokenRecord, UserRecord};
use cloudaid_core::effect::{Answer, Effect};
use cloudaid_core::event::Event;
use cloudaid_core::input::Input;
use cloudaid_core::login::{LoginChange, LoginKind, LoginRecord};
use cloudaid_core::record::Change;
use cloudaid_core::reject::Reject;
use cloudaid_core::testkit::World;
use shared::id::{LoginId, TokenId, UserName};
use shared::role::Role;
use shared::time::WallTime;

fn name(text: &str) -> UserName {
    text.parse().expect("a name")
}

fn account(text: &str, role: Role) -> UserRecord {
    let password_hash = format!("hash of {text}");
    UserRecord { name: name(text), password_hash, role, created_at: WallTime(7), disabled: false }
}

fn set_password(hash: &str) -> AccountChange {
    AccountChange::Update { hash: Some(hash.into()), role: None, disabled: None }
}

fn set_role(role: Role) -> AccountChange {
    AccountChange::Update { hash: None, role: Some(role), disabled: None }
}

fn set_disabled(disabled: bool) -> AccountChange {
    AccountChange::Update { hash: None, role: None, disabled: Some(disabled) }
}

/// The answer, and the account that was saved if one was.
fn change(world: &mut World, who: &str, change: AccountChange) -> (Result<Answer, Reject>, Option<UserRecord>) {
    let (answer, effects) = world.ask(|request| Input::ChangeAccount { request, name: name(who), change });
    let saved = effects.iter().find_map(|effect| match effect {
        Effect::Save(Change::User(user)) => Some(user.clone()),
        _ => None,
    });
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Publish(Event::AccountChanged { user }) => Some(user.clone()),
        _ => None,
    });
    assert_eq!(saved, told, "what is durable is told, and nothing else");
    (answer, saved)
}

fn with_admin() -> World {
    let mut world = World::default();
    let root = account("root", Role::Admin);
    world.ask(|request| Input::CreateFirstUser { request, user: root }).0.expect("made");
    world
}

#[test]
fn a_name_is_given_once() {
    let mut world = with_admin();
    let ann = account("ann", Role::User);
    assert_eq!(change(&mut world, "ann", AccountChange::Create(ann.clone())), (Ok(Answer::Done), Some(ann.clone())));
    let (answer, saved) = change(&mut world, "ann", AccountChange::Create(account("ann", Role::Admin)));
    assert_eq!((answer, saved), (Err(Reject::UserExists(name("ann"))), None));
    let (answer, saved) = change(&mut world, "bob", set_role(Role::Admin));
    assert_eq!((answer, saved), (Err(Reject::UserNotFound(name("bob"))), None));
    // It is there after a restart too.
    world.restart();
    let (answer, _) = change(&mut world, "ann", AccountChange::Create(ann));
    assert_eq!(answer, Err(Reject::UserExists(name("ann"))));
}

fn log_in(world: &mut World, who: &str, number: u128) -> LoginId {
    let id = LoginId(number.into());
    let (created_at, renewed_at) = (world.now.wall, world.now.wall);
    let user = name(who);
    let login = LoginRecord { id, user, kind: LoginKind::Tool, address: None, serial: 0, created_at, renewed_at };
    let begin = LoginChange::Begin { login, verified: None };
    world.ask(|request| Input::ChangeLogin { request, change: begin }).0.expect("a login");
    id
}

fn logins(world: &World, who: &str) -> Vec<LoginId> {
    world.cluster.logins().filter(|login| login.user == name(who)).map(|login| login.id).collect()
}

#[test]
fn what_changes_rights_ends_logins() {
    let mut world = with_admin();
    let ann = account("ann", Role::User);
    change(&mut world, "ann", AccountChange::Create(ann.clone())).0.expect("made");
    let root = log_in(&mut world, "root", 1);
    let mut changed = |wish| {
        log_in(&mut world, "ann", 2);
        let saved = change(&mut world, "ann", wish).1;
        assert_eq!(logins(&world, "ann"), []);
        saved
    };
    let role = changed(set_role(Role::ReadOnly)).expect("it changes");
    assert_eq!(role, UserRecord { role: Role::ReadOnly, ..ann });
    let password = changed(set_password("new")).expect("it changes");
    assert_eq!(password, UserRecord { password_hash: "new".into(), ..role });
    assert_eq!(changed(AccountChange::EndLogins), None, "the account stays as it is");
    let disabled = changed(set_disabled(true)).expect("it changes");
    assert_eq!(disabled, UserRecord { disabled: true, ..password });
    change(&mut world, "ann", set_disabled(false)).0.expect("enabled");
    // What is as wished already changes nothing, and ends no login.
    let still = log_in(&mut world, "ann", 3);
    for wish in [set_disabled(false), set_role(Role::ReadOnly)] {
        assert_eq!(change(&mut world, "ann", wish), (Ok(Answer::Done), None));
    }
    assert_eq!((logins(&world, "ann"), logins(&world, "root")), (vec![still], vec![root]));
    world.restart();
    assert_eq!((logins(&world, "ann"), logins(&world, "root")), (vec![still], vec![root]));
}

#[test]
fn a_password_of_ones_own_ends_the_other_logins() {
    let mut world = with_admin();
    let (here, _there) = (log_in(&mut world, "root", 1), log_in(&mut world, "root", 2));
    let own =
        |verified: &str| AccountChange::OwnPassword { verified: verified.into(), hash: "new".into(), kept: Some(here) };
    let saved = change(&mut world, "root", own("hash of root")).1.expect("it changes");
    assert_eq!((saved.password_hash.as_str(), logins(&world, "root")), ("new", vec![here]));
    // Whoever verified the one of before has no say any more.
    assert_eq!(change(&mut world, "root", own("hash of root")), (Err(Reject::LoginOver), None));
}

#[test]
fn several_wishes_are_one_change_or_none() {
    let mut world = with_admin();
    let both = AccountChange::Update { hash: Some("new".into()), role: Some(Role::User), disabled: None };
    let refused = change(&mut world, "root", both.clone());
    assert_eq!(refused, (Err(Reject::LastAdmin(name("root"))), None), "the password is as it was, too");
    change(&mut world, "eve", AccountChange::Create(account("eve", Role::Admin))).0.expect("made");
    let changed = change(&mut world, "root", both).1.expect("it changes");
    assert_eq!((changed.password_hash.as_str(), changed.role), ("new", Role::User));
}

#[test]
fn a_better_hash_of_the_same_password_ends_no_login() {
    let mut world = with_admin();
    let rehash = |verified: &str| AccountChange::Rehash { verified: verified.into(), hash: "better".into() };
    let login = log_in(&mut world, "root", 1);
    let (_, saved) = change(&mut world, "root", rehash("hash of root"));
    let saved = saved.expect("it changes");
    assert_eq!((saved.password_hash.as_str(), logins(&world, "root")), ("better", vec![login]));
    // Another password has come in between.
    assert_eq!(change(&mut world, "root", rehash("hash of root")), (Ok(Answer::Done), None));
}

#[test]
fn somebody_can_always_administer_the_cluster() {
    let mut world = with_admin();
    let last = Err(Reject::LastAdmin(name("root")));
    for wish in [set_disabled(true), set_role(Role::User)] {
        assert_eq!(change(&mut world, "root", wish), (last.clone(), None));
    }
    change(&mut world, "eve", AccountChange::Create(account("eve", Role::Admin))).0.expect("made");
    change(&mut world, "eve", set_disabled(true)).0.expect("root is left");
    assert_eq!(change(&mut world, "root", set_disabled(true)).0, last, "a disabled admin does not count");
    change(&mut world, "root", set_password("new")).0.expect("that takes nothing away");
    change(&mut world, "eve", set_disabled(false)).0.expect("done");
    change(&mut world, "root", set_role(Role::User)).0.expect("eve is left");
}

fn token(number: usize, user: &str) -> TokenRecord {
    TokenRecord {
        id: TokenId((number as u128).into()),
        user: name(user),
        name: "script".into(),
        digest: [7; 32],
        role: Role::User,
        created_at: WallTime(1),
        expires_at: WallTime(9),
        used_at: None,
    }
}

fn change_token(world: &mut World, change: TokenChange) -> (Result<Answer, Reject>, Vec<Effect>) {
    let (answer, mut effects) = world.ask(|request| Input::ChangeToken { request, change });
    effects.retain(|effect| !matches!(effect, Effect::Reply(..)));
    (answer, effects)
}

#[test]
fn a_token_is_made_used_and_ended() {
    let mut world = with_admin();
    let made = token(1, "root");
    let both = |id, record: Option<TokenRecord>| {
        let told = Effect::Publish(Event::TokenChanged { id, record: record.clone() });
        vec![Effect::Save(Change::Token(id, record)), told]
    };
    let create = change_token(&mut world, TokenChange::Create(made.clone()));
    assert_eq!(create, (Ok(Answer::Done), both(made.id, Some(made.clone()))));
    let used = TokenRecord { used_at: Some(WallTime(5)), ..made.clone() };
    let use_ = change_token(&mut world, TokenChange::Used(made.id, WallTime(5)));
    assert_eq!(use_, (Ok(Answer::Done), both(made.id, Some(used))));
    // An older use says nothing new.
    assert_eq!(change_token(&mut world, TokenChange::Used(made.id, WallTime(4))), (Ok(Answer::Done), vec![]));
    world.restart();
    assert_eq!(change_token(&mut world, TokenChange::Used(made.id, WallTime(5))), (Ok(Answer::Done), vec![]));
    assert_eq!(change_token(&mut world, TokenChange::Revoke(made.id)), (Ok(Answer::Done), both(made.id, None)));
    // It is gone: no use of it brings it back.
    for late in [TokenChange::Revoke(made.id), TokenChange::Used(made.id, WallTime(9))] {
        assert_eq!(change_token(&mut world, late), (Ok(Answer::Done), vec![]));
    }
}

#[test]
fn an_account_has_tokens_and_not_too_many() {
    let mut world = with_admin();
    let (answer, effects) = change_token(&mut world, TokenChange::Create(token(0, "nobody")));
    assert_eq!((answer, effects), (Err(Reject::UserNotFound(name("nobody"))), vec![]));
    for number in 0..TOKENS_LIMIT {
        change_token(&mut world, TokenChange::Create(token(number, "root"))).0.expect("made");
    }
    let (answer, effects) = change_token(&mut world, TokenChange::Create(token(TOKENS_LIMIT, "root")));
    assert_eq!((answer, effects), (Err(Reject::TooManyTokens(name("root"))), vec![]));
}
