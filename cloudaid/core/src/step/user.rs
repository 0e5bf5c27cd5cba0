//! Accounts.

use shared::id::RequestId;

use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::record::{Change, UserRecord};
use crate::reject::Reject;

/// The first account can be made once, whoever is first.
pub(crate) fn on_create_first(cluster: &mut Cluster, request: RequestId, user: UserRecord, effects: &mut Vec<Effect>) {
    let answer = if cluster.users.is_empty() {
        effects.push(Effect::Save(Change::User(user.clone())));
        cluster.users.insert(user.name.clone(), user);
        Ok(Answer::Done)
    } else {
        Err(Reject::AlreadySetUp)
    };
    effects.push(Effect::Reply(request, answer));
}
