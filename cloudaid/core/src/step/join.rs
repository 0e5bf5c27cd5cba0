//! Join tokens, and the workers that come with one.

use shared::id::RequestId;
use shared::resources::Resources;
use shared::time::{Now, WallTime};

use crate::admission::{Admission, Identity, JOIN_TOKENS_LIMIT, JoinTokenChange, JoinTokenRecord, Joining};
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::record::Change;
use crate::reject::Reject;
use crate::worker::Worker;

/// An admin makes a token or ends one. What has run out goes when a new one comes.
pub(crate) fn on_change(
    cluster: &mut Cluster,
    now: WallTime,
    request: RequestId,
    change: JoinTokenChange,
    effects: &mut Vec<Effect>,
) {
    let answer = match change {
        JoinTokenChange::Create(token) => {
            let over: Vec<_> = cluster.join_tokens.values().filter(|token| !token.is_good(now)).map(|t| t.id).collect();
            for id in over {
                cluster.join_tokens.remove(&id);
                effects.push(Effect::Save(Change::JoinToken(id, None)));
            }
            if cluster.join_tokens.len() >= JOIN_TOKENS_LIMIT {
                Err(Reject::TooManyJoinTokens)
            } else {
                save(cluster, token, effects);
                Ok(Answer::Done)
            }
        }
        JoinTokenChange::Revoke(id) => match cluster.join_tokens.remove(&id) {
            Some(_) => {
                effects.push(Effect::Save(Change::JoinToken(id, None)));
                Ok(Answer::Done)
            }
            None => Err(Reject::NoJoinToken(id)),
        },
    };
    effects.push(Effect::Reply(request, answer));
}

/// A worker wants to join.
pub(crate) fn on_join(
    cluster: &mut Cluster,
    now: Now,
    request: RequestId,
    joining: Joining,
    effects: &mut Vec<Effect>,
) {
    let answer = match check(cluster, now.wall, &joining) {
        Ok(Checked::Repeated(identity)) => Ok(Answer::Joined(identity)),
        Ok(Checked::New(token)) => Ok(Answer::Joined(join(cluster, now, joining, token, effects))),
        Err(reject) => Err(reject),
    };
    effects.push(Effect::Reply(request, answer));
}

/// What a join comes to.
pub(crate) enum Checked {
    /// The same call as before: its answer was lost.
    Repeated(Identity),
    New(JoinTokenRecord),
}

/// Whether a worker may join. Nothing changes.
pub(crate) fn check(cluster: &Cluster, now: WallTime, joining: &Joining) -> Result<Checked, Reject> {
    let token = cluster.join_tokens.get(&joining.token).filter(|token| token.digest == joining.digest);
    let token = token.ok_or(Reject::JoinTokenUnknown)?;
    if now >= token.expires_at {
        return Err(Reject::JoinTokenOver("has run out"));
    }
    let present = cluster.workers.get(&joining.worker).map(|worker| &worker.record.admission);
    if let Some(Admission::Certificate(identity)) = present
        && identity.token == joining.token
        && identity.key == joining.key
    {
        return Ok(Checked::Repeated(identity.clone()));
    }
    if token.uses_left == 0 {
        return Err(Reject::JoinTokenOver("was used already"));
    }
    match (&token.name, present) {
        (Some(name), _) if *name != joining.worker => Err(Reject::JoinTokenForAnother(name.clone())),
        // Whoever made the token has named the worker that it replaces.
        (Some(_), _) | (None, Some(Admission::None) | None) => Ok(Checked::New(token.clone())),
        (None, Some(Admission::Certificate(_) | Admission::Dialed(_))) => {
            Err(Reject::WorkerExists(joining.worker.clone()))
        }
    }
}

fn join(
    cluster: &mut Cluster,
    now: Now,
    joining: Joining,
    token: JoinTokenRecord,
    effects: &mut Vec<Effect>,
) -> Identity {
    let Joining { token: id, worker, key, identity, .. } = joining;
    let identity = Identity { id: identity, pool: token.pool.clone(), token: id, key, joined_at: now.wall };
    save(cluster, JoinTokenRecord { uses_left: token.uses_left - 1, ..token }, effects);
    super::admit::stop_waiting(cluster, &worker, effects);
    if let Some(session) = cluster.workers.get(&worker).and_then(Worker::session) {
        effects.push(Effect::Close(session, Reject::Replaced(worker.clone())));
    }
    let facts = (String::new(), Resources::default());
    super::admit::let_in(cluster, now, worker, Admission::Certificate(identity.clone()), facts, effects);
    identity
}

fn save(cluster: &mut Cluster, token: JoinTokenRecord, effects: &mut Vec<Effect>) {
    effects.push(Effect::Save(Change::JoinToken(token.id, Some(token.clone()))));
    cluster.join_tokens.insert(token.id, token);
}
