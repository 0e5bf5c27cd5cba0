//! `cloudctl tokens`

use shared::view::CreateTokenRequest;

use super::Session;
use crate::args::{TokensArgs, TokensVerb};
use crate::exit::CtlError;
use crate::render::{Done, RevokedView, View};

/// Lists, makes and ends personal tokens.
pub(super) async fn run(args: &TokensArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let client = &session.client;
    let view = match args.verb.as_ref().unwrap_or(&TokensVerb::List) {
        TokensVerb::List => View::Tokens(client.tokens().await?),
        TokensVerb::Create { name, role, ttl } => {
            let request = CreateTokenRequest { name: name.clone(), role: *role, ttl_seconds: Some(ttl.as_secs()) };
            View::NewToken(client.create_token(&request).await?)
        }
        TokensVerb::Revoke { ids } => {
            for id in ids {
                client.revoke_token(*id).await?;
            }
            View::Revoked(RevokedView { revoked: ids.iter().map(ToString::to_string).collect() })
        }
    };
    Ok(view.into())
}
