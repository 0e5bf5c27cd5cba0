//! `cloudctl worker-token`

use shared::view::CreateWorkerTokenRequest;

use super::Session;
use super::each::each;
use crate::args::{WorkerTokenArgs, WorkerTokenVerb};
use crate::exit::CtlError;
use crate::render::{Done, RevokedView, View};

/// Lists, makes and ends join tokens.
pub(super) async fn run(args: &WorkerTokenArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let client = &session.client;
    match args.verb.as_ref().unwrap_or(&WorkerTokenVerb::List) {
        WorkerTokenVerb::List => Ok(View::WorkerTokens(client.worker_tokens().await?).into()),
        WorkerTokenVerb::Create { name, ttl, uses, pool } => {
            let (name, pool) = (name.clone(), pool.clone());
            let request = CreateWorkerTokenRequest { name, pool, ttl_seconds: Some(ttl.as_secs()), uses: Some(*uses) };
            Ok(View::NewWorkerToken(client.create_worker_token(&request).await?).into())
        }
        WorkerTokenVerb::Revoke { ids } => {
            let revoke =
                each(ids, session, |id| async move { client.revoke_worker_token(id).await.map(|()| id.to_string()) });
            let each = revoke.await?;
            Ok(Done { view: Some(View::Revoked(RevokedView { revoked: each.done })), exit: each.exit })
        }
    }
}
