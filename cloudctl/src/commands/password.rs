//! `cloudctl password`

use shared::context::file::update;
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
    let user = login.username.clone();
    let changed = Client::new(&Target::new(server, Some(login.token.clone())))?;
    match &session.context {
        Some(name) => {
            let renewed = context::of_login(client.server(), login);
            update(&context::path()?, |file| {
                file.upsert(name.clone(), renewed);
                Ok::<_, CtlError>(())
            })?;
        }
        None => terminal.warn("the token in CLOUDCTL_TOKEN has ended with the old password: log in again"),
    }
    Ok(View::User(changed.user(user.as_str()).await?).into())
}
