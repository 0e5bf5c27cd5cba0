//! Contexts: reading and writing their file, and finding out which server a call is for.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use shared::context::{CONTEXT_FILE, Context, ContextFile};
use ulid::Ulid;
use url::{Host, Url};

use crate::args::GlobalArgs;
use crate::exit::CtlError;

/// The server that a call goes to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where.
    pub(crate) server: Url,
    /// Who we are, as far as known.
    pub(crate) token: Option<String>,
}

/// Where the contexts lie.
pub(crate) fn path() -> Result<PathBuf, CtlError> {
    let strategy = etcetera::base_strategy::Xdg::new().map_err(|_| CtlError::Refused {
        message: "there is no home directory to keep contexts in".to_owned(),
        hint: "set HOME or XDG_CONFIG_HOME, or give --server and --token".to_owned(),
    })?;
    Ok(strategy.config_dir().join(CONTEXT_FILE))
}

/// Reads the file; one that does not exist is an empty one.
pub(crate) fn load(path: &Path) -> Result<ContextFile, CtlError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ContextFile::default()),
        Err(error) => return Err(CtlError::local(format!("cannot read {}", path.display()))(error)),
    };
    toml::from_str(&text).map_err(|error| CtlError::Refused {
        message: format!("{} is not a file of contexts: {}", path.display(), error.message()),
        hint: "mend it, or move it away and run `cloudctl login` again".to_owned(),
    })
}

/// Writes the file, whole or not at all, readable by its owner only.
pub(crate) fn save(path: &Path, file: &ContextFile) -> Result<(), CtlError> {
    let failed = || CtlError::local(format!("cannot write {}", path.display()));
    let text = toml::to_string(file).map_err(|error| failed()(io::Error::other(error)))?;
    write_private(path, text.as_bytes()).map_err(failed())
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = directory.join(format!(".contexts-{}", Ulid::generate()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Finds out where a call goes. Flags and environment win over the file, which is not even read if they say all.
pub(crate) fn resolve(global: &GlobalArgs) -> Result<Target, CtlError> {
    if let (Some(server), Some(token)) = (given(global.server.as_deref()), given(global.token.as_deref())) {
        return Ok(Target { server: parse_server(server)?, token: Some(token.to_owned()) });
    }
    resolve_in(global, &load(&path()?)?)
}

/// See [`resolve`].
///
/// A token of the file goes only to the server that it was made for: with `--server` another one would get to see it.
fn resolve_in(global: &GlobalArgs, file: &ContextFile) -> Result<Target, CtlError> {
    let selected = select(global, file)?;
    let token = given(global.token.as_deref()).map(str::to_owned);
    let Some(server) = given(global.server.as_deref()) else {
        let Some((_, context)) = selected else {
            return Err(CtlError::usage(
                "there is no context, so it is not known which master to talk to",
                "start `cloudaid dev`, or log in with `cloudctl login --server URL`",
            ));
        };
        return Ok(Target { server: parse_server(&context.server)?, token: token.or_else(|| context.token.clone()) });
    };
    let server = parse_server(server)?;
    let same = |context: &&Context| parse_server(&context.server).is_ok_and(|known| known == server);
    let known = selected.map(|(_, context)| context).filter(same).or_else(|| file.contexts.values().find(same));
    let token = token.or_else(|| known.and_then(|context| context.token.clone()));
    Ok(Target { server, token })
}

/// The context that was asked for, or the current one.
pub(crate) fn select<'a>(
    global: &GlobalArgs,
    file: &'a ContextFile,
) -> Result<Option<(&'a str, &'a Context)>, CtlError> {
    let find = |name: &str| file.contexts.get_key_value(name).map(|(name, context)| (name.as_str(), context));
    match given(global.context.as_deref()) {
        Some(name) => match find(name) {
            Some(found) => Ok(Some(found)),
            None => {
                let known: Vec<_> = file.contexts.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(CtlError::usage(
                    format!("there is no context `{}`", name.escape_debug()),
                    format!("known contexts: {known}; `cloudctl login --server URL --name NAME` makes one"),
                ))
            }
        },
        None => Ok(file.current.as_deref().and_then(find)),
    }
}

/// An empty variable is as good as none.
pub(crate) fn given(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

/// The address of a server. Without a scheme it is http.
pub(crate) fn parse_server(text: &str) -> Result<Url, CtlError> {
    let refuse = || {
        CtlError::usage(
            format!("`{}` is not the address of a server", text.escape_debug()),
            "give one such as http://127.0.0.1:8080",
        )
    };
    let text = text.trim();
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url = Url::parse(&full).map_err(|_| refuse())?;
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::args::OutputFormat;

    fn global(server: Option<&str>, token: Option<&str>, context: Option<&str>) -> GlobalArgs {
        let own = |text: Option<&str>| text.map(str::to_owned);
        GlobalArgs { server: own(server), token: own(token), context: own(context), output: OutputFormat::Table }
    }

    fn file() -> ContextFile {
        let mut file = ContextFile::default();
        for (name, server) in [("dev", "http://127.0.0.1:8080"), ("prod", "https://prod.example")] {
            let token = Some(format!("{name}-token"));
            file.upsert(name, Context { server: server.into(), token, username: None });
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
    fn without_a_context_the_hint_says_what_to_do() {
        let Err(error) = resolve_in(&global(None, None, None), &ContextFile::default()) else { panic!("resolved") };
        assert_eq!(error.exit(), 2);
        assert!(error.hint().contains("cloudaid dev") && error.hint().contains("cloudctl login"), "{}", error.hint());
    }

    #[test]
    fn servers_are_read_as_people_write_them() {
        for (text, url) in [
            ("http://h:1", "http://h:1/"),
            ("localhost:8080", "http://localhost:8080/"),
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

    #[test]
    fn the_file_reads_back_as_written_and_is_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cloudctl/contexts.toml");
        assert_eq!(load(&path).expect("no file"), ContextFile::default());
        save(&path, &file()).expect("saved");
        save(&path, &file()).expect("saved over");
        assert_eq!(load(&path).expect("loaded"), file());
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a parent")), 0o700);
        let left = fs::read_dir(path.parent().expect("a parent")).expect("listed").count();
        assert_eq!(left, 1, "a temporary file was left");
    }

    #[test]
    fn a_broken_file_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("contexts.toml");
        fs::write(&path, "current = 7").expect("written");
        let error = load(&path).expect_err("broken").to_string();
        assert!(error.contains("contexts.toml"), "{error}");
    }
}
