//! Keeps commits in the journal while somebody reads them, for a time: who dies does not keep them for ever.

use std::time::Duration;

use mongodb::bson::{DateTime, doc};

use super::collections::CLUSTER;
use super::fault::Fault;
use super::server::Server;

/// How long a hold lasts. It is renewed while it is needed.
const HOLD_FOR: Duration = Duration::from_secs(600);

/// A hold on all commits that are in the journal, and on those that come.
#[derive(Debug)]
pub(super) struct Hold<'a> {
    server: &'a Server,
    id: String,
}

impl<'a> Hold<'a> {
    pub(super) async fn take(server: &'a Server) -> Result<Self, Fault> {
        let hold = Self { server, id: format!("hold/{}", ulid::Ulid::generate()) };
        hold.renew().await?;
        Ok(hold)
    }

    pub(super) async fn renew(&self) -> Result<(), Fault> {
        let until = DateTime::from_millis(DateTime::now().timestamp_millis() + HOLD_FOR.as_millis() as i64);
        let statement = doc! { "q": { "_id": &self.id }, "u": { "$set": { "held_until": until } }, "upsert": true };
        self.server.update(CLUSTER, vec![statement]).await.map(drop)
    }

    /// Gives it back, and removes those that nobody has given back.
    pub(super) async fn release(self) -> Result<(), Fault> {
        let own = doc! { "q": { "_id": &self.id }, "limit": 0 };
        let old = doc! { "q": { "held_until": { "$lt": DateTime::now() } }, "limit": 0 };
        self.server.delete(CLUSTER, vec![own, old]).await
    }
}

/// Whether there is one.
pub(super) async fn any(server: &Server) -> Result<bool, Fault> {
    let held = doc! { "held_until": { "$gte": DateTime::now() } };
    Ok(server.find_first(CLUSTER, held, doc! {}).await?.is_some())
}
