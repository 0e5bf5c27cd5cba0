//! `cloudctl users`

use shared::view::{CreateUserRequest, InviteRequest, UpdateUserRequest};

use super::{Session, passwords};
use crate::args::{UserArgs, UsersArgs, UsersVerb};
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Lists, makes and changes accounts.
pub(super) async fn run(args: &UsersArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let Session { client, terminal, .. } = session;
    let update =
        async |name: &str, request: UpdateUserRequest| client.update_user(name, &request).await.map(View::User);
    let disabled = |disabled| UpdateUserRequest { disabled: Some(disabled), ..UpdateUserRequest::default() };
    let view = match args.verb.as_ref().unwrap_or(&UsersVerb::List) {
        UsersVerb::List => View::Users(client.users().await?),
        UsersVerb::Show(UserArgs { name }) => View::User(client.user(name).await?),
        UsersVerb::Create { name, role, password_stdin } => {
            let password = passwords::new(*password_stdin, "Password of the new account", terminal)?;
            let request = CreateUserRequest { username: name.clone(), password, role: Some(*role) };
            View::User(client.create_user(&request).await?)
        }
        UsersVerb::SetRole { name, role } => {
            update(name, UpdateUserRequest { role: Some(*role), ..UpdateUserRequest::default() }).await?
        }
        UsersVerb::SetPassword { name, password_stdin } => {
            let password = passwords::new(*password_stdin, "New password", terminal)?;
            update(name, UpdateUserRequest { password: Some(password), ..UpdateUserRequest::default() }).await?
        }
        UsersVerb::Disable(UserArgs { name }) => update(name, disabled(true)).await?,
        UsersVerb::Enable(UserArgs { name }) => update(name, disabled(false)).await?,
        UsersVerb::EndLogins(UserArgs { name }) => {
            client.end_logins(name).await?;
            View::User(client.user(name).await?)
        }
        UsersVerb::Invite { name, role, ttl } => {
            let request = InviteRequest { username: name.clone(), role: Some(*role), ttl_seconds: Some(ttl.as_secs()) };
            View::Invite(client.invite(&request).await?)
        }
    };
    Ok(view.into())
}
