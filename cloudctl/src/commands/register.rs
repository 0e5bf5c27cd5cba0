//! `cloudctl register`

use shared::context::file::load;
use shared::view::RegisterRequest;

use super::login::{self, Place};
use super::{get_to_know, passwords};
use crate::args::{GlobalArgs, RegisterArgs};
use crate::client::Client;
use crate::context;
use crate::exit::CtlError;
use crate::render::{Done, Terminal, View};

/// Makes an account for whoever calls, and logs in with it.
pub(super) async fn run(args: &RegisterArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<Done, CtlError> {
    let path = context::path()?;
    let Place { server, name, known } = login::place(args.name.as_deref(), global, &load(&path)?)?;
    let target = get_to_know::server(server, known, terminal).await?;
    let invite = args.invite_file.as_deref().map(login::first_line).transpose()?;
    let username = login::username(args.username.as_ref(), None, terminal)?;
    let password = passwords::new(args.password_stdin, "Password", terminal)?;
    let client = Client::new(&target)?;
    let made = client.register(&RegisterRequest { username, password, invite }).await?;
    Ok(View::LoggedIn(login::remember(&path, name, client.server(), &target.trust, made)?).into())
}
