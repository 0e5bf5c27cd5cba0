//! The master is about to stop.

use shared::id::RequestId;

use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};

/// From now on nothing waiting is placed. It stays queued, durably, for the next start.
pub(crate) fn on_drain(cluster: &mut Cluster, request: RequestId, effects: &mut Vec<Effect>) {
    cluster.draining = true;
    effects.push(Effect::Reply(request, Ok(Answer::Done)));
}
