//! `cloudctl logout`

use shared::context::file::{load, update};
use shared::context::{Context, ContextFile};
use shared::error::exit;

use super::Session;
use crate::args::{GlobalArgs, LogoutArgs};
use crate::client::Client;
use crate::context::{of_context, parse_server, path, select};
use crate::exit::CtlError;
use crate::render::{Done, LoggedOutView, Terminal, View};

/// Ends logins and forgets their tokens. The contexts stay, so that the next login finds them.
pub(super) async fn run(args: &LogoutArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<Done, CtlError> {
    if args.everywhere {
        Session::open(global, terminal)?.client.logout(true).await?;
    }
    let path = path()?;
    let file = load(&path)?;
    let wanted = wanted(args, global, &file)?;
    for name in wanted.iter().filter(|_| !args.everywhere) {
        end_login(name, &file.contexts[name], global, terminal).await;
    }
    update(&path, |file| {
        for (_, context) in file.contexts.iter_mut().filter(|(name, _)| wanted.contains(name)) {
            let Context { server, username, ca, fingerprint, rest, .. } = std::mem::take(context);
            *context = Context { server, username, ca, fingerprint, rest, ..Context::default() };
        }
        Ok::<_, CtlError>(())
    })?;
    Ok(View::LoggedOut(LoggedOutView { contexts: wanted }).into())
}

/// The contexts with a login that shall end.
fn wanted(args: &LogoutArgs, global: &GlobalArgs, file: &ContextFile) -> Result<Vec<String>, CtlError> {
    let selected = select(global, file)?.map(|(name, _)| name.to_owned());
    let wanted = |name: &String| args.all || selected.as_ref() == Some(name);
    let contexts = file.contexts.iter().filter(|(name, context)| wanted(name) && context.token.is_some());
    Ok(contexts.map(|(name, _)| name.clone()).collect())
}

/// Ends a login at its master. One that has ended is no news, and a master that cannot be asked is no reason to keep it.
async fn end_login(name: &str, context: &Context, global: &GlobalArgs, terminal: &Terminal) {
    let end = async {
        let target = of_context(parse_server(&context.server)?, global, None, Some((name, context)))?;
        Client::new(&target)?.logout(false).await
    };
    if let Err(error) = end.await
        && error.exit() != exit::UNAUTHENTICATED
    {
        terminal.warn(format!("the login at {} could not be ended, only forgotten: {error}", context.server));
    }
}
