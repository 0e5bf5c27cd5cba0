//! Whether somebody had the engine send a container the signal that ended it: `docker kill`, `docker stop`.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::TryStreamExt;
use shared::task;

use super::CALL_LIMIT;
use super::errors::within;
use crate::clock;
use crate::runtime::Exit;

/// The engine remembers some hundred events, for as long as it runs: what it has forgotten was not seen.
pub(super) async fn sent(engine: &Docker, id: &str, exit: &Exit) -> bool {
    let (Some(signal), Some(started)) = (task::signal_of(exit.code), exit.started_at) else { return false };
    let now = clock::wall().0;
    let filters = HashMap::from([("container", vec![id]), ("event", vec!["kill"])]);
    let options = EventsOptionsBuilder::default()
        .since(&(started.0 / 1000).to_string())
        // What has happened by now: the engine waits for what is still to come.
        .until(&format!("{}.{:03}000000", now / 1000, now % 1000))
        .filters(&filters)
        .build();
    let events = within(CALL_LIMIT, engine.events(Some(options)).try_collect::<Vec<_>>()).await;
    events.is_ok_and(|events| events.iter().any(|event| signal_of(event) == Some(signal)))
}

fn signal_of(event: &EventMessage) -> Option<i32> {
    event.actor.as_ref()?.attributes.as_ref()?.get("signal")?.parse().ok()
}
