//! What every verb works with.

use shared::context::Context;
use shared::context::file::update;
use shared::time::WallTime;

use crate::args::GlobalArgs;
use crate::client::Client;
use crate::context::{self, Target, resolve};
use crate::exit::CtlError;
use crate::render::Terminal;

/// A master, and the person who asks it.
pub(crate) struct Session<'a> {
    pub(crate) client: Client,
    pub(crate) terminal: &'a Terminal,
    /// The context that the token is of.
    pub(crate) context: Option<String>,
}

impl<'a> Session<'a> {
    /// Finds the master, and gets a fresh token if it is time for one.
    pub(crate) async fn open(global: &GlobalArgs, terminal: &'a Terminal) -> Result<Self, CtlError> {
        let mut target = resolve(global)?;
        let now = WallTime(jiff::Timestamp::now().as_millisecond());
        if let (Some(context), Some(at)) = (target.context.clone(), target.refresh_at)
            && at <= now
        {
            // If it cannot be had, the old one may still do; if not, the request itself says so.
            if let Ok(Some(token)) = refresh(&context, &target, now).await {
                target.token = Some(token);
            }
        }
        Ok(Self { client: Client::new(&target)?, terminal, context: target.context })
    }
}

/// A fresh token in the file; none if another call has put one there in the meantime and this one can go on with it.
async fn refresh(name: &str, target: &Target, now: WallTime) -> Result<Option<String>, CtlError> {
    let client = Client::new(target)?;
    let login = client.refresh().await?;
    let token = login.token.clone();
    update(&context::path()?, |file| {
        // Only if the context is still what it was: someone may have logged in as someone else.
        if let Some(known) = file.contexts.get_mut(name)
            && known.token == target.token
        {
            let rest = std::mem::take(&mut known.rest);
            let server = known.server.clone();
            let fresh = Context::logged_in(server, login.token, login.username.to_string(), now, login.expires_at);
            *known = Context { rest, ..fresh };
        }
        Ok::<_, CtlError>(())
    })?;
    Ok(Some(token))
}
