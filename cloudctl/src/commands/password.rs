//! `cloudctl password`

use shared::view::PasswordRequest;

use super::{Session, passwords};
use crate::args::PasswordArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Changes one's own password. All logins end but the one that this is done with.
pub(super) async fn run(args: &PasswordArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let Session { client, terminal, .. } = session;
    let old_password = passwords::known(args.password_stdin, "Present password", terminal)?;
    let new_password = passwords::new(args.password_stdin, "New password", terminal)?;
    client.password(&PasswordRequest { old_password, new_password }).await?;
    let me = client.me().await?;
    Ok(View::User(client.user(me.username.as_str()).await?).into())
}
