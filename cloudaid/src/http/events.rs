//! `/ws/events`: what happens to tasks and workers, from now on or from a cursor.

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use shared::id::{TaskId, UserName};
use shared::view::EventFrame;

use super::Shared;
use super::error::Failure;
use super::extract::{Caller, Params};
use super::socket::{self, Admitted, Client, Kind, Stop};
use super::telemetry::stopping;
use crate::master::auth::{Principal, may_see};
use crate::master::events::{EventCursor, Happened};

/// Read at a time.
const BATCH: usize = 256;

/// `GET /ws/events`: users hear of their own tasks and of all workers, admins of everything.
pub(super) async fn follow(
    State(state): State<Shared>,
    Caller(principal): Caller,
    mut params: Params,
    admitted: Admitted,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let after: Option<EventCursor> = params.one("after")?;
    let task: Option<TaskId> = params.one("task")?;
    params.finish()?;
    let wanted = Wanted { principal, task: task.map(|task| task.to_string()) };
    let shared = state.clone();
    Ok(socket::open(upgrade, &state, admitted, move |client| converse(client, shared, after, wanted))?)
}

/// What somebody may and wants to hear.
struct Wanted {
    principal: Principal,
    task: Option<String>,
}

impl Wanted {
    fn takes(&self, event: &Happened) -> bool {
        let may = |owner: &UserName| may_see(&self.principal, owner);
        // What is about a task of nobody known is for those who may see all.
        let visible = match (event.owner(), event.task()) {
            (Some(owner), _) => may(owner),
            (None, Some(_)) => self.principal.is_admin(),
            (None, None) => true,
        };
        let about = |task: &String| event.task().is_some_and(|of| of.split('.').next() == Some(task.as_str()));
        visible && self.task.as_ref().is_none_or(about)
    }
}

async fn converse(mut client: Client, state: Shared, after: Option<EventCursor>, wanted: Wanted) {
    let ended = tell(&mut client, &state, after, &wanted).await;
    client.end(ended).await;
}

async fn tell(client: &mut Client, state: &Shared, after: Option<EventCursor>, wanted: &Wanted) -> Result<(), Stop> {
    let events = state.cluster.events();
    let mut news = events.news();
    let (mut from, mut lagged) = events.begin(after);
    loop {
        client.check()?;
        news.mark_unchanged();
        let read = events.after(from, BATCH);
        if lagged || read.lagged {
            client.tell(&EventFrame::Lagged).await?;
            lagged = false;
        }
        from = read.last;
        for event in read.events.iter().filter(|event| wanted.takes(event)) {
            client.send(Kind::Text, event.json().as_bytes()).await?;
        }
        client.listen()?;
        if !read.events.is_empty() {
            continue;
        }
        tokio::select! {
            changed = news.changed() => changed.map_err(|_| stopping())?,
            alive = client.stay() => alive?,
            () = state.shutdown.cancelled() => return Err(stopping().into()),
        }
    }
}
