//! `cloudctl login`

use std::path::Path;

use shared::context::file::{load, update};
use shared::context::{Context, ContextFile};
use shared::view::{LoginRequest, LoginView, SetupRequest};
use url::Url;

use super::{get_to_know, passwords};
use crate::args::{GlobalArgs, LoginArgs};
use crate::client::Client;
use crate::context::{self, find_at, given, known_trust, parse_server};
use crate::exit::CtlError;
use crate::render::{Done, LoggedInView, Terminal, View};
use crate::trust::Trust;

/// Logs in and stores the context, which becomes the current one: who logs in wants to work there.
pub(super) async fn run(args: &LoginArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<Done, CtlError> {
    let path = context::path()?;
    let file = load(&path)?;
    let Place { server, name, known } = place(args.name.as_deref(), global, &file)?;
    let target = get_to_know::server(server, known, terminal).await?;
    let setup_token = setup_token(args)?;
    let username = username(args.username.as_ref(), file.contexts.get(&name), terminal)?;
    let ask = if setup_token.is_some() { passwords::new } else { passwords::known };
    let password = ask(args.password_stdin, "Password", terminal)?;

    let client = Client::new(&target)?;
    let login = log_in(&client, setup_token, username, password).await?;
    Ok(View::LoggedIn(remember(&path, name, client.server(), &target.trust, login)?).into())
}

/// Where one logs in, and the context that is kept of it.
pub(super) struct Place {
    pub(super) server: Url,
    pub(super) name: String,
    /// How the call says that the server is trusted, or a context of before.
    pub(super) known: Trust,
}

/// Finds out all of it.
pub(super) fn place(name: Option<&str>, global: &GlobalArgs, file: &ContextFile) -> Result<Place, CtlError> {
    let server = server(global, file)?;
    let name = context_name(name, global, file, &server);
    let of_name = file.contexts.get_key_value(&name).map(|(name, context)| (name.as_str(), context));
    let known = match Trust::given(global, &server)? {
        Some(trust) => trust,
        None => known_trust(&server, of_name, file)?,
    };
    Ok(Place { server, name, known })
}

/// Keeps a login as a context, which becomes the current one.
pub(super) fn remember(
    path: &Path,
    name: String,
    server: &str,
    trust: &Trust,
    login: LoginView,
) -> Result<LoggedInView, CtlError> {
    let (username, expires_at) = (login.username.to_string(), login.expires_at);
    let stored = trust.keep_in(context::of_login(server, login));
    update(path, |file| {
        file.upsert(name.clone(), stored);
        file.current = Some(name.clone());
        Ok::<_, CtlError>(())
    })?;
    Ok(LoggedInView { context: name, server: server.to_owned(), username, expires_at })
}

/// What is in the file, or what was given.
fn setup_token(args: &LoginArgs) -> Result<Option<String>, CtlError> {
    match &args.setup_token_file {
        Some(path) => first_line(path).map(Some),
        None => Ok(args.setup_token.clone()),
    }
}

/// The first line of a file, or with `-` of stdin.
pub(super) fn first_line(path: &Path) -> Result<String, CtlError> {
    if path.as_os_str() == "-" {
        return passwords::line("the token");
    }
    let text = std::fs::read_to_string(path).map_err(CtlError::local(format!("cannot read {}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

async fn log_in(
    client: &Client,
    setup_token: Option<String>,
    username: String,
    password: String,
) -> Result<LoginView, CtlError> {
    match setup_token {
        Some(setup_token) => client.setup(&SetupRequest { setup_token, username, password }).await,
        None => client.login(&LoginRequest { username, password }).await,
    }
}

/// The server that was named, or that of the selected context.
fn server(global: &GlobalArgs, file: &ContextFile) -> Result<Url, CtlError> {
    if let Some(server) = given(global.server.as_deref()) {
        return parse_server(server);
    }
    match context::select(global, file)? {
        Some((_, context)) => parse_server(&context.server),
        None => Err(CtlError::usage("it is not known where to log in", "give --server, such as https://master:8080")),
    }
}

/// The name that was given, that of the context of the same server, or the server's host.
fn context_name(name: Option<&str>, global: &GlobalArgs, file: &ContextFile, server: &Url) -> String {
    if let Some(name) = given(name).or_else(|| given(global.context.as_deref())) {
        return name.to_owned();
    }
    find_at(server, None, file).map(|(name, _)| name.to_owned()).unwrap_or_else(|| {
        let host = server.host_str().unwrap_or("default");
        let taken = file.contexts.contains_key(host);
        match server.port() {
            Some(port) if taken => format!("{host}:{port}"),
            _ => host.to_owned(),
        }
    })
}

pub(super) fn username(
    given: Option<&String>,
    known: Option<&Context>,
    terminal: &Terminal,
) -> Result<String, CtlError> {
    if let Some(username) = given {
        return Ok(username.clone());
    }
    let known = known.and_then(|context| context.username.as_deref());
    if !terminal.can_ask() {
        return known.map(str::to_owned).ok_or_else(|| {
            CtlError::usage("it is not known who logs in, and there is no terminal to ask at", "give --username")
        });
    }
    let answer = match known {
        Some(known) => terminal.ask(&format!("Username [{known}]: "))?,
        None => terminal.ask("Username: ")?,
    };
    Ok(match (answer.trim(), known) {
        ("", Some(known)) => known.to_owned(),
        (answer, _) => answer.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(given: Option<&str>, server: &str, file: &ContextFile) -> String {
        context_name(given, &GlobalArgs::default(), file, &parse_server(server).expect("a server"))
    }

    #[test]
    fn a_context_is_named_after_its_server_unless_it_has_a_name() {
        let mut file = ContextFile::default();
        assert_eq!(name(None, "http://h:1", &file), "h");
        assert_eq!(name(Some("prod"), "http://h:1", &file), "prod");
        file.upsert("dev", Context { server: "http://h:1".into(), ..Context::default() });
        assert_eq!(name(None, "http://h:1", &file), "dev");
        file.upsert("h", Context { server: "http://h:2".into(), ..Context::default() });
        assert_eq!(name(None, "http://h:3", &file), "h:3");
    }
}
