//! `/api/audit`: who has done what.

use axum::Json;
use axum::extract::State;
use shared::view::AuditListView;

use super::Shared;
use super::error::{Failure, invalid};
use super::extract::Params;
use crate::store::{AuditPage, AuditQuery};

/// The most entries of a page, and how many if the client does not say.
const PAGE_LIMIT: usize = 1000;
const PAGE_DEFAULT: usize = 100;

/// `GET /api/audit`: the newest first; with `after` the oldest first, for whoever follows the chain.
pub(super) async fn list(State(state): State<Shared>, mut params: Params) -> Result<Json<AuditListView>, Failure> {
    let limit = params.number("limit", 1, PAGE_LIMIT)?.unwrap_or(PAGE_DEFAULT);
    let page = match (params.one("cursor")?, params.one("after")?) {
        (before, None) => AuditPage::Before(before),
        (None, Some(after)) => AuditPage::After(after),
        (Some(_), Some(_)) => return Err(invalid("after: the other order", "leave cursor out, or after").into()),
    };
    let query = AuditQuery { page, user: params.one("user")?, since: params.one("since")?, limit };
    params.finish()?;
    let (entries, next) = state.cluster.audit(query).await?;
    Ok(Json(AuditListView { entries, next_cursor: next.map(|sequence| sequence.to_string()) }))
}
