//! Personal tokens.

use shared::id::RequestId;

use crate::account::{TOKENS_LIMIT, TokenChange};
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::record::Change;
use crate::reject::Reject;

/// Somebody with the right to it wants a token made, ended, or its use noted.
pub(crate) fn on_change(cluster: &mut Cluster, request: RequestId, change: TokenChange, effects: &mut Vec<Effect>) {
    let answer = check(cluster, &change).map(|()| {
        apply(cluster, change, effects);
        Answer::Done
    });
    effects.push(Effect::Reply(request, answer));
}

fn check(cluster: &Cluster, change: &TokenChange) -> Result<(), Reject> {
    let TokenChange::Create(token) = change else { return Ok(()) };
    if !cluster.users.contains_key(&token.user) {
        return Err(Reject::UserNotFound(token.user.clone()));
    }
    let count = cluster.tokens.values().filter(|other| other.user == token.user).count();
    if count >= TOKENS_LIMIT { Err(Reject::TooManyTokens(token.user.clone())) } else { Ok(()) }
}

fn apply(cluster: &mut Cluster, change: TokenChange, effects: &mut Vec<Effect>) {
    let (id, record) = match change {
        TokenChange::Create(token) => (token.id, Some(token)),
        TokenChange::Revoke(id) if cluster.tokens.contains_key(&id) => (id, None),
        TokenChange::Used(id, at) => match cluster.tokens.get(&id) {
            Some(token) if token.used_at < Some(at) => {
                let mut token = token.clone();
                token.used_at = Some(at);
                (id, Some(token))
            }
            _ => return,
        },
        TokenChange::Revoke(_) => return,
    };
    effects.push(Effect::Save(Change::Token(id, record.clone())));
    effects.push(Effect::Publish(Event::TokenChanged { id, record: record.clone() }));
    match record {
        Some(token) => cluster.tokens.insert(id, token),
        None => cluster.tokens.remove(&id),
    };
}
