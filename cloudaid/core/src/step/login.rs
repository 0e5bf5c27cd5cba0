//! Logins.

use shared::id::{LoginId, RequestId, UserName};
use shared::time::WallTime;

use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::login::{LOGINS_LIMIT, LoginChange, LoginRecord, OVERLAP};
use crate::record::Change;
use crate::reject::Reject;

/// Somebody with the right to it wants a login begun, renewed, ended, or its use noted.
pub(crate) fn on_change(
    cluster: &mut Cluster,
    now: WallTime,
    request: RequestId,
    change: LoginChange,
    effects: &mut Vec<Effect>,
) {
    let answer = match change {
        LoginChange::Begin { login, verified } => begin(cluster, now, login, verified.as_deref(), effects),
        LoginChange::Renew(id, serial) => renew(cluster, now, id, serial, effects),
        LoginChange::Used(id) => {
            note(cluster, now, id, effects);
            Ok(())
        }
        LoginChange::End(id) => {
            set(cluster, id, None, effects);
            Ok(())
        }
    };
    effects.push(Effect::Reply(request, answer.map(|()| Answer::Done)));
}

fn begin(
    cluster: &mut Cluster,
    now: WallTime,
    login: LoginRecord,
    verified: Option<&str>,
    effects: &mut Vec<Effect>,
) -> Result<(), Reject> {
    let user = cluster.users.get(&login.user).ok_or_else(|| Reject::UserNotFound(login.user.clone()))?;
    if user.disabled || verified.is_some_and(|verified| verified != user.password_hash) {
        return Err(Reject::LoginOver);
    }
    let mut others: Vec<_> = of(cluster, &login.user).map(|other| (other.renewed_at, other.id)).collect();
    others.sort_unstable();
    let surplus = (others.len() + 1).saturating_sub(LOGINS_LIMIT);
    let over = |id: &LoginId| cluster.logins.get(id).is_some_and(|login| login.is_over(now));
    let others = others.into_iter().map(|(_, id)| id).enumerate();
    let going: Vec<_> = others.filter(|(at, id)| *at < surplus || over(id)).map(|(_, id)| id).collect();
    for id in going {
        set(cluster, id, None, effects);
    }
    set(cluster, login.id, Some(login), effects);
    Ok(())
}

fn renew(
    cluster: &mut Cluster,
    now: WallTime,
    id: LoginId,
    serial: u32,
    effects: &mut Vec<Effect>,
) -> Result<(), Reject> {
    let login = cluster.logins.get(&id).filter(|login| !login.is_over(now)).ok_or(Reject::LoginOver)?;
    if serial == login.serial {
        let next = LoginRecord { serial: login.serial.saturating_add(1), renewed_at: now, ..login.clone() };
        set(cluster, id, Some(next), effects);
        return Ok(());
    }
    if serial.checked_add(1) == Some(login.serial) && now < login.renewed_at + OVERLAP {
        return Ok(());
    }
    // Two have it: nobody knows which of them is the thief.
    let user = login.user.clone();
    set(cluster, id, None, effects);
    effects.push(Effect::Publish(Event::LoginReused { id, user }));
    Err(Reject::LoginReused)
}

fn note(cluster: &mut Cluster, now: WallTime, id: LoginId, effects: &mut Vec<Effect>) {
    if let Some(login) = cluster.logins.get(&id).filter(|login| login.renewed_at < now) {
        let login = LoginRecord { renewed_at: now, ..login.clone() };
        set(cluster, id, Some(login), effects);
    }
}

/// Ends the logins of an account, all but `kept`.
pub(crate) fn end_all(cluster: &mut Cluster, user: &UserName, kept: Option<LoginId>, effects: &mut Vec<Effect>) {
    let ids: Vec<_> = of(cluster, user).map(|login| login.id).filter(|id| Some(*id) != kept).collect();
    for id in ids {
        set(cluster, id, None, effects);
    }
}

fn of<'a>(cluster: &'a Cluster, user: &'a UserName) -> impl Iterator<Item = &'a LoginRecord> {
    cluster.logins.values().filter(move |login| login.user == *user)
}

fn set(cluster: &mut Cluster, id: LoginId, record: Option<LoginRecord>, effects: &mut Vec<Effect>) {
    match &record {
        Some(login) => drop(cluster.logins.insert(id, login.clone())),
        None if cluster.logins.remove(&id).is_none() => return,
        None => {}
    }
    effects.push(Effect::Save(Change::Login(id, record.clone())));
    effects.push(Effect::Publish(Event::LoginChanged { id, record }));
}
