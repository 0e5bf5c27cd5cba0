//! The context `dev` of cloudctl: `cloudctl status` in another terminal just works.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The name under which it is kept.
pub(super) const NAME: &str = "dev";

/// What cloudctl needs to reach a master. Contains a token.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Context {
    /// Base URL of the admin API.
    pub(super) server: String,
    /// Bearer token.
    pub(super) token: String,
    /// Whose token it is.
    pub(super) username: String,
    /// What a newer cloudctl may have put beside these.
    #[serde(flatten)]
    pub(super) rest: toml::Table,
}

/// What became of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// There was no login or no place for it, or it failed.
    Nothing,
    /// It is there.
    To {
        /// In this file.
        file: PathBuf,
        /// Whether cloudctl takes it when none is named.
        current: bool,
    },
}

/// The file, as far as we know it. All contexts are kept as they are.
#[derive(Default, Serialize, Deserialize)]
struct Contexts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(flatten)]
    rest: toml::Table,
    #[serde(default)]
    contexts: BTreeMap<String, toml::Table>,
}

/// Why it was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContextError {
    #[error("{} cannot be read as TOML and is left as it is: {reason}; mend it or move it away, then start again", path.display())]
    Broken { path: PathBuf, reason: String },
    #[error("{}: {source}; check who owns it and whether the disk is full", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Puts the context into the file, beside those that are there. It becomes the current one only if there is none; says
/// whether it is.
pub(super) fn write(path: &Path, context: Context) -> Result<bool, ContextError> {
    let failed = |source| ContextError::Io { path: path.to_owned(), source };
    let mut contexts = read(path)?;
    let own = contexts.contexts.entry(NAME.to_owned()).or_default();
    own.insert("server".to_owned(), context.server.into());
    own.insert("token".to_owned(), context.token.into());
    own.insert("username".to_owned(), context.username.into());
    own.extend(context.rest);
    let current = contexts.current.get_or_insert_with(|| NAME.to_owned()) == NAME;
    let text = toml::to_string(&contexts).map_err(|error| failed(io::Error::other(error)))?;
    replace(path, text.as_bytes()).map_err(failed)?;
    Ok(current)
}

fn read(path: &Path) -> Result<Contexts, ContextError> {
    match fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|error| ContextError::Broken {
            path: path.to_owned(),
            // Only the reason: the line it stands on may hold a token.
            reason: error.message().to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contexts::default()),
        Err(source) => Err(ContextError::Io { path: path.to_owned(), source }),
    }
}

/// All or nothing: whoever reads meanwhile, or after a crash, finds the old file or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::other("it has no directory"))?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    let temporary = directory.join(format!(".contexts.{}.tmp", std::process::id()));
    let result = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The error that is reported is the first one.
        let _ = fs::remove_file(&temporary);
    }
    result?;
    File::open(directory)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Left by a process of the same number that crashed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(port: u16) -> Context {
        Context {
            server: format!("http://127.0.0.1:{port}"),
            token: "t0ken".to_owned(),
            username: "admin".to_owned(),
            rest: toml::Table::new(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn the_first_context_is_current_and_for_its_owner_only() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("config/cloudctl/contexts.toml");
        assert!(write(&path, context(8080)).expect("written"));
        let expected = "current = \"dev\"\n\n[contexts.dev]\nserver = \"http://127.0.0.1:8080\"\n\
                        token = \"t0ken\"\nusername = \"admin\"\n";
        assert_eq!(fs::read_to_string(&path).expect("text"), expected);
        assert_eq!((mode(&path), mode(path.parent().expect("a directory"))), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().expect("a directory")).expect("a list").count(), 1);
    }

    #[test]
    fn other_contexts_and_what_we_do_not_know_stay() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("contexts.toml");
        let before = "current = \"prod\"\ntheme = \"dark\"\n[contexts.prod]\nserver = \"https://prod\"\ntoken = \"p\"\n\
                      later = 1\n[contexts.dev]\nserver = \"http://old\"\ntoken = \"old\"\nusername = \"admin\"\npager = true\n";
        fs::write(&path, before).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("set");
        assert!(!write(&path, context(9)).expect("written"));
        let after: toml::Table = fs::read_to_string(&path).expect("text").parse().expect("TOML");
        let expected = before.replace("http://old", "http://127.0.0.1:9").replace("\"old\"", "\"t0ken\"");
        assert_eq!(after, expected.parse::<toml::Table>().expect("TOML"));
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn it_becomes_current_again_only_where_nothing_else_is() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("contexts.toml");
        fs::write(&path, "[contexts.prod]\nserver = \"https://prod\"\n").expect("written");
        assert!(write(&path, context(1)).expect("written"));
        assert!(write(&path, context(2)).expect("written"));
    }

    #[test]
    fn a_broken_file_is_left_alone_and_not_quoted() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("contexts.toml");
        for broken in ["token = s3cret\n[", "contexts = 7", "current = 1"] {
            fs::write(&path, broken).expect("written");
            let error = write(&path, context(1)).expect_err("it is broken").to_string();
            assert!(error.contains("mend it or move it away") && !error.contains("s3cret"), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("text"), broken);
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let home = tempfile::tempdir().expect("a directory");
        fs::write(home.path().join("file"), "").expect("written");
        let error = write(&home.path().join("file/contexts.toml"), context(1)).expect_err("no directory");
        assert!(error.to_string().contains("contexts.toml"), "{error}");
    }
}
