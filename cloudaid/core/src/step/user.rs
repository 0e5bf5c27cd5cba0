//! Accounts.

use shared::id::{RequestId, UserName};
use shared::role::Role;

use crate::account::{AccountChange, UserRecord};
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::record::Change;
use crate::reject::Reject;
use crate::step::login;

/// The first account can be made once, whoever is first.
pub(crate) fn on_create_first(cluster: &mut Cluster, request: RequestId, user: UserRecord, effects: &mut Vec<Effect>) {
    let answer = if cluster.users.is_empty() {
        save(cluster, user, effects);
        Ok(Answer::Done)
    } else {
        Err(Reject::AlreadySetUp)
    };
    effects.push(Effect::Reply(request, answer));
}

/// Somebody with the right to it wants an account changed; what is already as wished is no error.
pub(crate) fn on_change(
    cluster: &mut Cluster,
    request: RequestId,
    name: &UserName,
    change: AccountChange,
    effects: &mut Vec<Effect>,
) {
    let kept = match &change {
        AccountChange::OwnPassword { kept, .. } => *kept,
        _ => None,
    };
    let keeps_logins = matches!(change, AccountChange::Rehash { .. });
    let ends_logins = matches!(change, AccountChange::EndLogins);
    let answer = changed(cluster, name, change).map(|user| {
        let is_new = cluster.users.get(name) != Some(&user);
        if is_new {
            save(cluster, user, effects);
        }
        if ends_logins || is_new && !keeps_logins {
            login::end_all(cluster, name, kept, effects);
        }
        Answer::Done
    });
    effects.push(Effect::Reply(request, answer));
}

/// The account as it will be.
fn changed(cluster: &Cluster, name: &UserName, change: AccountChange) -> Result<UserRecord, Reject> {
    let known = cluster.users.get(name);
    let user = match (known, change) {
        (None, AccountChange::Create(user)) => return Ok(user),
        (Some(_), AccountChange::Create(_)) => return Err(Reject::UserExists(name.clone())),
        (None, _) => return Err(Reject::UserNotFound(name.clone())),
        (Some(known), AccountChange::OwnPassword { verified, .. }) if verified != known.password_hash => {
            return Err(Reject::LoginOver);
        }
        (Some(known), change) => apply(known, change),
    };
    if is_active_admin(&user) || !known.is_some_and(is_active_admin) {
        return Ok(user);
    }
    let others = cluster.users.values().filter(|other| other.name != *name && is_active_admin(other));
    if others.count() == 0 {
        return Err(Reject::LastAdmin(name.clone()));
    }
    Ok(user)
}

fn apply(before: &UserRecord, change: AccountChange) -> UserRecord {
    let mut user = before.clone();
    match change {
        AccountChange::Create(_) | AccountChange::EndLogins => {}
        AccountChange::Update { hash, role, disabled } => {
            user.password_hash = hash.unwrap_or(user.password_hash);
            user.role = role.unwrap_or(user.role);
            user.disabled = disabled.unwrap_or(user.disabled);
        }
        AccountChange::Rehash { verified, hash } => {
            if user.password_hash == verified {
                user.password_hash = hash;
            }
        }
        AccountChange::OwnPassword { hash, .. } => user.password_hash = hash,
    }
    user
}

fn is_active_admin(user: &UserRecord) -> bool {
    user.role == Role::Admin && !user.disabled
}

fn save(cluster: &mut Cluster, user: UserRecord, effects: &mut Vec<Effect>) {
    effects.push(Effect::Save(Change::User(user.clone())));
    effects.push(Effect::Publish(Event::AccountChanged { user: user.clone() }));
    cluster.users.insert(user.name.clone(), user);
}
