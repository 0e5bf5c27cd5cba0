//! `cloudctl logout`

use shared::context::Context;
use shared::context::file::update;

use super::Session;
use crate::args::{GlobalArgs, LogoutArgs};
use crate::context::{path, select};
use crate::exit::CtlError;
use crate::render::{Done, LoggedOutView, Terminal, View};

/// Forgets tokens. The contexts stay, so that the next login finds them.
pub(super) async fn run(args: &LogoutArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<Done, CtlError> {
    if args.everywhere {
        Session::open(global, terminal)?.client.logout().await?;
    }
    let contexts = update(&path()?, |file| {
        let selected = select(global, file)?.map(|(name, _)| name.to_owned());
        let wanted = |name: &String| args.all || selected.as_ref() == Some(name);
        let mut forgotten = Vec::new();
        for (name, context) in file.contexts.iter_mut().filter(|(name, _)| wanted(name)) {
            if context.token.is_some() {
                forgotten.push(name.clone());
            }
            let Context { server, username, rest, .. } = std::mem::take(context);
            *context = Context { server, username, rest, ..Context::default() };
        }
        Ok::<_, CtlError>(forgotten)
    })?;
    Ok(View::LoggedOut(LoggedOutView { contexts }).into())
}
