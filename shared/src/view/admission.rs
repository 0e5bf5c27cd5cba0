//! Which workers may join, and with what.

use serde::{Deserialize, Serialize};

use crate::id::{TokenId, UserName, WorkerId};
use crate::resources::Resources;
use crate::span::Span;
use crate::time::WallTime;

/// A join token is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateWorkerTokenRequest {
    /// The one worker that it is for; it then also takes the place of a worker of that name that there is. Left out: any
    /// name that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<WorkerId>,
    /// What the label `pool` of its workers will be, whatever they say themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 63))]
    pub pool: Option<String>,
    /// How long it is good, in seconds; 15 minutes if it is left out, at most a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86400))]
    pub ttl_seconds: Option<u64>,
    /// How many workers can join with it; 1 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10000))]
    pub uses: Option<u32>,
}

/// A join token, without what lets a worker in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerTokenView {
    /// Names it.
    pub token_id: TokenId,
    /// The one worker that it is for, if it is.
    pub name: Option<WorkerId>,
    /// The label `pool` of its workers, if it gives one.
    pub pool: Option<String>,
    /// How many workers can still join with it.
    pub uses_left: u32,
    /// Who made it.
    pub created_by: UserName,
    /// When it was made.
    pub created_at: WallTime,
    /// When it stops to work.
    pub expires_at: WallTime,
}

/// A new join token. Only here is what lets a worker in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewWorkerTokenView {
    /// For `cloudaid worker --join`. Secret; it carries the fingerprint of the cluster's authority.
    pub token: String,
    /// Where workers connect, as `HOST:PORT`, as far as the master knows.
    pub master: String,
    /// The rest.
    #[serde(flatten)]
    pub view: WorkerTokenView,
}

impl std::fmt::Debug for NewWorkerTokenView {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewWorkerTokenView").field("view", &self.view).finish_non_exhaustive()
    }
}

/// All join tokens that can still be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerTokenListView {
    /// The newest first.
    pub worker_tokens: Vec<WorkerTokenView>,
}

/// A worker of the first generation is registered: the master will dial it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterWorkerRequest {
    /// Its name: what it calls itself, its host name as a rule.
    pub worker_id: WorkerId,
    /// Where it listens, as `IP:PORT`.
    #[cfg_attr(feature = "openapi", schema(example = "192.168.1.10:50052"))]
    pub address: String,
}

/// The body of `POST /api/workers/{id}/cordon`; it may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CordonRequest {
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The body of `POST /api/workers/{id}/drain`; it may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long what runs there may go on: a text such as `30m`, or seconds. To its end if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
}

/// A worker that waits is let in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApproveWorkerRequest {
    /// Where it listens, as `IP:PORT`, if that is not what the list of those that wait shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A worker that has asked to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingWorkerView {
    /// What it calls itself. Nothing proves that.
    pub worker_id: WorkerId,
    /// Where the master would dial it.
    pub address: String,
    /// What it says it can give to tasks.
    pub capacity: Resources,
    /// When it asked first.
    pub since: WallTime,
}

/// All workers that wait to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingWorkerListView {
    /// By name.
    pub pending: Vec<PendingWorkerView>,
}
