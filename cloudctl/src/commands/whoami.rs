//! `cloudctl whoami`

use shared::context::file::load;
use shared::view::MeView;

use super::Session;
use crate::context::path;
use crate::exit::CtlError;
use crate::render::{Done, View, WhoAmIView};

/// Who the master takes us for.
pub(super) async fn run(session: &Session<'_>) -> Result<Done, CtlError> {
    let MeView { username, role } = session.client.me().await?;
    let expires_at = match &session.context {
        Some(name) => load(&path()?)?.contexts.get(name).and_then(|context| context.expires_at),
        None => None,
    };
    let server = session.client.server().to_owned();
    Ok(View::WhoAmI(WhoAmIView { username, role, server, context: session.context.clone(), expires_at }).into())
}
