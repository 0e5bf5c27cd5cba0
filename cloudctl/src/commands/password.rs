//! `cloudctl password`

use shared::context::Context;
use shared::context::file::update;
use shared::time::WallTime;
use shared::view::PasswordRequest;

use super::{Session, passwords};
use crate::args::PasswordArgs;
use crate::client::Client;
use crate::context::{self, Target, parse_server};
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Changes one's own password. All logins end, and this one begins anew.
pub(super) async fn run(args: &PasswordArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let Session { client, terminal, .. } = session;
    let old_password = passwords::known(args.password_stdin, "Present password", terminal)?;
    let new_password = passwords::new(args.password_stdin, "New password", terminal)?;
    let login = client.password(&PasswordRequest { old_password, new_password }).await?;
    let server = parse_server(client.server())?;
    let changed = Client::new(&Target::new(server, Some(login.token.clone())))?;
    match &session.context {
        Some(name) => {
            let now = WallTime(jiff::Timestamp::now().as_millisecond());
            update(&context::path()?, |file| {
                if let Some(known) = file.contexts.get_mut(name) {
                    let (rest, server) = (std::mem::take(&mut known.rest), known.server.clone());
                    let user = login.username.to_string();
                    let fresh = Context::logged_in(server, login.token, user, now, login.expires_at);
                    *known = Context { rest, ..fresh };
                }
                Ok::<_, CtlError>(())
            })?;
        }
        None => terminal.warn("the token in CLOUDCTL_TOKEN has ended with the old password: log in again"),
    }
    Ok(View::User(changed.user(login.username.as_str()).await?).into())
}
