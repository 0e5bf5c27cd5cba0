//! The context `dev` of cloudctl: `cloudctl status` in another terminal just works.

use std::path::{Path, PathBuf};

use shared::context::Context;
use shared::context::file::{ContextFileError, update};

/// The name under which it is kept.
pub(super) const NAME: &str = "dev";

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

/// Puts the context into the file, beside those that are there. It becomes the current one only if there is none; says
/// whether it is.
pub(super) fn write(path: &Path, context: Context) -> Result<bool, ContextFileError> {
    update(path, |file| {
        file.upsert(NAME, context);
        Ok(file.current.as_deref() == Some(NAME))
    })
}

#[cfg(test)]
mod tests {
    use shared::context::file::load;

    use super::*;

    fn context() -> Context {
        Context { server: "http://h".into(), token: Some("t".into()), ..Context::default() }
    }

    #[test]
    fn it_becomes_current_only_where_nothing_else_is() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("contexts.toml");
        std::fs::write(&path, "[contexts.prod]\nserver = \"https://prod\"\n").expect("written");
        assert!(write(&path, context()).expect("written"));
        assert!(write(&path, context()).expect("written"));
        assert_eq!(load(&path).expect("a file").contexts.len(), 2);
        std::fs::write(&path, "current = \"prod\"\n[contexts.prod]\nserver = \"https://prod\"\n").expect("written");
        assert!(!write(&path, context()).expect("written"));
    }
}
