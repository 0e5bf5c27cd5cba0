//! The file in which cloudctl remembers its servers, and which `cloudaid dev` fills in. Here are only its types; who
//! uses the file reads and writes it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the file lies, below the user's configuration directory (`$XDG_CONFIG_HOME`, else `~/.config`).
pub const CONTEXT_FILE: &str = "cloudctl/contexts.toml";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContextFile {
    /// The context used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, Context>,
}

/// A server and how to prove oneself to it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Context {
    /// For example `http://127.0.0.1:8080`.
    pub server: String,
    /// For `Authorization: Bearer`. Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Who the token stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

impl ContextFile {
    /// Adds or replaces a context. It becomes current only if there is no current one, so that nobody's next command
    /// goes to another cluster than they think.
    pub fn upsert(&mut self, name: impl Into<String>, context: Context) {
        let name = name.into();
        if self.current.is_none() {
            self.current = Some(name.clone());
        }
        self.contexts.insert(name, context);
    }
}

impl fmt::Debug for Context {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "***");
        f.debug_struct("Context")
            .field("server", &self.server)
            .field("token", &token)
            .field("username", &self.username)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(server: &str) -> Context {
        Context { server: server.to_owned(), token: Some("secret".to_owned()), username: None }
    }

    #[test]
    fn only_the_first_context_becomes_current_by_itself() {
        let mut file = ContextFile::default();
        file.upsert("a", context("http://a"));
        file.upsert("b", context("http://b"));
        assert_eq!(file.current.as_deref(), Some("a"));
        assert_eq!(file.contexts.len(), 2);
    }

    #[test]
    fn a_context_is_replaced_by_name() {
        let mut file = ContextFile::default();
        file.upsert("a", context("http://old"));
        file.upsert("a", context("http://new"));
        assert_eq!(file.contexts["a"].server, "http://new");
    }

    #[test]
    fn the_token_is_not_in_debug_output() {
        assert!(!format!("{:?}", context("http://a")).contains("secret"));
    }
}
