//! Contexts: finding out which master a call is for, and who we are to it.

use std::path::PathBuf;

use etcetera::BaseStrategy;
use shared::context::file::load;
use shared::context::{CONTEXT_FILE, Context, ContextFile};
use shared::error::exit;
use shared::text::printable;
use shared::time::WallTime;
use shared::view::LoginView;
use url::{Host, Url};

use crate::args::GlobalArgs;
use crate::clock;
use crate::exit::CtlError;
use crate::trust::Trust;

/// The master that a call goes to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where.
    pub(crate) server: Url,
    /// How it proves that it is the one.
    pub(crate) trust: Trust,
    /// Who we are, as far as known.
    pub(crate) token: Option<String>,
    /// The context that the token is of, if it is of one.
    pub(crate) context: Option<String>,
    /// From when on it is time to get a fresh token for that context.
    pub(crate) refresh_at: Option<WallTime>,
}

impl Target {
    /// A master, without a context.
    pub(crate) fn new(server: Url, trust: Trust, token: Option<String>) -> Self {
        Self { server, trust, token, context: None, refresh_at: None }
    }
}

/// Where the contexts lie.
pub(crate) fn path() -> Result<PathBuf, CtlError> {
    Ok(strategy()?.config_dir().join(CONTEXT_FILE))
}

/// Where the history of the shell lies.
pub(crate) fn history_path() -> Result<PathBuf, CtlError> {
    let strategy = strategy()?;
    Ok(strategy.state_dir().unwrap_or_else(|| strategy.data_dir()).join("cloudctl/history"))
}

fn strategy() -> Result<etcetera::base_strategy::Xdg, CtlError> {
    etcetera::base_strategy::Xdg::new().map_err(|_| {
        let hint = "set HOME or XDG_CONFIG_HOME, or both CLOUDCTL_SERVER and CLOUDCTL_TOKEN";
        CtlError::refused(exit::CONFIG, "there is no home directory to keep contexts in", hint)
    })
}

/// Finds out where a call goes. Flags and environment win over the file, which is not even read if they say all.
pub(crate) fn resolve(global: &GlobalArgs) -> Result<Target, CtlError> {
    if let (Some(server), Some(token)) = (given(global.server.as_deref()), given(global.token.as_deref())) {
        let server = parse_server(server)?;
        let trust = match Trust::given(global, &server)? {
            Some(trust) => trust,
            None if server.scheme() == "http" => Trust::System,
            // Where there is no place for a file, nothing was ever trusted.
            None => path().map_or(Ok(Trust::System), |path| known_trust(&server, None, &load(&path)?))?,
        };
        return Ok(Target::new(server, trust, Some(token.to_owned())));
    }
    resolve_in(global, &load(&path()?)?)
}

/// See [`resolve`].
///
/// A token of the file goes only to the master that it was made for: with `--server` another one would get to see it.
fn resolve_in(global: &GlobalArgs, file: &ContextFile) -> Result<Target, CtlError> {
    let selected = select(global, file)?;
    let own = given(global.token.as_deref()).map(str::to_owned);
    let Some(server) = given(global.server.as_deref()) else {
        let Some((name, context)) = selected else {
            return Err(CtlError::refused(
                exit::CONFIG,
                "there is no context, so it is not known which master to talk to",
                "start `cloudaid dev`, or log in with `cloudctl login --server URL`",
            ));
        };
        return of_context(parse_server(&context.server)?, global, own, Some((name, context)));
    };
    let server = parse_server(server)?;
    let known = find_at(&server, selected, file);
    of_context(server, global, own, known)
}

/// A token of our own comes before that of the context, and so does what we say of trust.
pub(crate) fn of_context(
    server: Url,
    global: &GlobalArgs,
    own: Option<String>,
    context: Option<(&str, &Context)>,
) -> Result<Target, CtlError> {
    let trust = match (Trust::given(global, &server)?, context) {
        (Some(trust), _) => trust,
        (None, Some((_, context))) => Trust::of_context(context)?,
        (None, None) => Trust::System,
    };
    Ok(match (own, context) {
        (None, Some((name, context))) => Target {
            server,
            trust,
            token: context.token.clone(),
            context: Some(name.to_owned()),
            refresh_at: context.refresh_at,
        },
        (own, _) => Target::new(server, trust, own),
    })
}

/// The context of this server: `preferred` if it is one, else the first.
pub(crate) fn find_at<'a>(
    server: &Url,
    preferred: Option<(&'a str, &'a Context)>,
    file: &'a ContextFile,
) -> Option<(&'a str, &'a Context)> {
    let same = |(_, context): &(&str, &Context)| parse_server(&context.server).is_ok_and(|known| known == *server);
    let all = || file.contexts.iter().map(|(name, context)| (name.as_str(), context));
    preferred.filter(same).or_else(|| all().find(same))
}

/// How the file says that this server is trusted.
pub(crate) fn known_trust(
    server: &Url,
    preferred: Option<(&str, &Context)>,
    file: &ContextFile,
) -> Result<Trust, CtlError> {
    find_at(server, preferred, file).map_or(Ok(Trust::System), |(_, context)| Trust::of_context(context))
}

/// What is kept of a login at `server`.
pub(crate) fn of_login(server: impl Into<String>, login: LoginView) -> Context {
    Context::logged_in(server.into(), login, clock::wall())
}

/// The context that was asked for, or the current one.
pub(crate) fn select<'a>(
    global: &GlobalArgs,
    file: &'a ContextFile,
) -> Result<Option<(&'a str, &'a Context)>, CtlError> {
    match given(global.context.as_deref()) {
        Some(name) => find(file, name).map(Some),
        None => Ok(file.current.as_deref().and_then(|name| find(file, name).ok())),
    }
}

/// The context of this name.
pub(crate) fn find<'a>(file: &'a ContextFile, name: &str) -> Result<(&'a str, &'a Context), CtlError> {
    let found = file.contexts.get_key_value(name).map(|(name, context)| (name.as_str(), context));
    found.ok_or_else(|| {
        let known: Vec<_> = file.contexts.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        CtlError::refused(
            exit::NOT_FOUND,
            format!("there is no context `{}`", printable(name)),
            format!("known contexts: {known}; `cloudctl login --server URL --name NAME` makes one"),
        )
    })
}

/// An empty variable is as good as none.
pub(crate) fn given(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

/// The address of a server. Without a scheme it is https, and on this machine http, as a master serves it.
pub(crate) fn parse_server(text: &str) -> Result<Url, CtlError> {
    let refuse = || {
        CtlError::usage(
            format!("`{}` is not the address of a server", text.escape_debug()),
            "give one such as https://master:8080",
        )
    };
    let text = text.trim();
    let read = |text: &str| Url::parse(text).map_err(|_| refuse());
    let mut url = if text.contains("://") {
        read(text)?
    } else {
        // Read twice, because each scheme has a port of its own.
        let local = Some(read(&format!("http://{text}"))?).filter(is_local);
        local.map_or_else(|| read(&format!("https://{text}")), Ok)?
    };
    let known = matches!(url.scheme(), "http" | "https") && url.host().is_some();
    if !known || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(refuse());
    }
    // A directory, so that the paths of the API are appended to it.
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// Whether the server is on this machine.
pub(crate) fn is_local(server: &Url) -> bool {
    match server.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(server: Option<&str>, token: Option<&str>, context: Option<&str>) -> GlobalArgs {
        let own = |text: Option<&str>| text.map(str::to_owned);
        GlobalArgs { server: own(server), token: own(token), context: own(context), ..GlobalArgs::default() }
    }

    fn file() -> ContextFile {
        let mut file = ContextFile::default();
        for (name, server) in [("dev", "http://127.0.0.1:8080"), ("prod", "https://prod.example")] {
            let token = Some(format!("{name}-token"));
            file.upsert(
                name,
                Context { server: server.into(), token, refresh_at: Some(WallTime(7)), ..Context::default() },
            );
        }
        file
    }

    fn resolved(global: &GlobalArgs) -> (String, Option<String>) {
        let target = resolve_in(global, &file()).expect("resolves");
        (target.server.to_string(), target.token)
    }

    #[test]
    fn the_current_context_is_used_unless_another_is_named() {
        assert_eq!(resolved(&global(None, None, None)), ("http://127.0.0.1:8080/".into(), Some("dev-token".into())));
        let prod = ("https://prod.example/".into(), Some("prod-token".into()));
        assert_eq!(resolved(&global(None, None, Some("prod"))), prod);
        assert!(resolve_in(&global(None, None, Some("nowhere")), &file()).is_err());
    }

    #[test]
    fn flags_win_over_the_file() {
        let (server, token) = resolved(&global(Some("http://other:1"), Some("t"), None));
        assert_eq!((server.as_str(), token.as_deref()), ("http://other:1/", Some("t")));
        let (_, token) = resolved(&global(None, Some("t"), None));
        assert_eq!(token.as_deref(), Some("t"));
    }

    #[test]
    fn a_token_never_goes_to_another_server() {
        let (_, token) = resolved(&global(Some("http://evil.example"), None, None));
        assert_eq!(token, None);
        let (_, token) = resolved(&global(Some("https://prod.example/"), None, None));
        assert_eq!(token.as_deref(), Some("prod-token"));
    }

    #[test]
    fn only_a_token_of_the_file_is_renewed_there() {
        let target = |global| resolve_in(&global, &file()).expect("resolves");
        let of_file = target(global(None, None, None));
        assert_eq!((of_file.context.as_deref(), of_file.refresh_at), (Some("dev"), Some(WallTime(7))));
        let own = target(global(None, Some("t"), None));
        assert_eq!((own.context, own.refresh_at), (None, None));
    }

    #[test]
    fn trust_is_that_of_the_context_of_the_server_unless_the_call_says_another() {
        let pin = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let mut file = file();
        let prod = file.contexts.get_mut("prod").expect("prod");
        prod.fingerprint = Some(pin("a"));
        let trust = |global: &GlobalArgs| resolve_in(global, &file).map(|target| target.trust);
        let pinned = |digit: &str| Trust::Pinned(pin(digit).parse().expect("a fingerprint"));
        let prod = |token| global(Some("https://prod.example"), token, None);
        assert_eq!(trust(&global(None, None, Some("prod"))).expect("known"), pinned("a"));
        assert_eq!(trust(&prod(None)).expect("known"), pinned("a"));
        assert_eq!(trust(&prod(Some("own"))).expect("known"), pinned("a"), "whoever asks");
        assert_eq!(trust(&global(Some("https://other.example"), None, None)).expect("new"), Trust::System);
        let other = GlobalArgs { fingerprint: Some(pin("b")), ..prod(None) };
        assert_eq!(trust(&other).expect("said"), pinned("b"));
    }

    #[test]
    fn without_a_context_the_hint_says_what_to_do() {
        let Err(error) = resolve_in(&global(None, None, None), &ContextFile::default()) else { panic!("resolved") };
        assert_eq!(error.exit(), exit::CONFIG);
        assert!(error.hint().contains("cloudaid dev") && error.hint().contains("cloudctl login"), "{}", error.hint());
    }

    #[test]
    fn servers_are_read_as_people_write_them() {
        for (text, url) in [
            ("http://h:1", "http://h:1/"),
            ("localhost:8080", "http://localhost:8080/"),
            ("127.0.0.7", "http://127.0.0.7/"),
            ("[::1]:443", "http://[::1]:443/"),
            ("master:8080", "https://master:8080/"),
            ("10.0.0.7:80", "https://10.0.0.7:80/"),
            ("https://h/cloud", "https://h/cloud/"),
        ] {
            assert_eq!(parse_server(text).expect(text).as_str(), url);
        }
        for bad in ["", "ftp://h", "http://", "http://u:p@h", "http://h/?a=b"] {
            assert!(parse_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_is_known() {
        for (server, local) in [("localhost:1", true), ("127.0.0.2", true), ("[::1]:1", true), ("10.0.0.1", false)] {
            assert_eq!(is_local(&parse_server(server).expect(server)), local, "{server}");
        }
    }
}
