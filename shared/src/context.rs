//! The file in which cloudctl remembers its masters, and which `cloudaid dev` fills in. Reading and writing it stands in
//! [`mod@file`], for the programs that do.

pub mod file;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::WallTime;
use crate::view::LoginView;

/// Where the file lies, below the user's configuration directory (`$XDG_CONFIG_HOME`, else `~/.config`).
pub const CONTEXT_FILE: &str = "cloudctl/contexts.toml";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ContextFile {
    /// The context used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// What another version keeps here; it stays as it is.
    #[serde(flatten)]
    pub rest: toml::Table,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, Context>,
}

/// A master and how to prove oneself to it.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Context {
    /// For example `http://127.0.0.1:8080`.
    pub server: String,
    /// For `Authorization: Bearer`. Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Renews the token, once. Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Who the token stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// When the token stops to work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<WallTime>,
    /// From when on it is time to get a fresh one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_at: Option<WallTime>,
    /// The authorities, in PEM, that vouch for the server, instead of those of the machine. They and not the name of a
    /// file: that could go away, or come to hold others, and then the token would go to whom nobody has trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The SHA-256 of the certificate that the server is known by, as `sha256:<64 hex digits>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// What another version keeps here; it stays as it is.
    #[serde(flatten)]
    pub rest: toml::Table,
}

impl ContextFile {
    /// Adds a context, or puts it in the place of the one of this name. It becomes current only if there is no current
    /// one, so that nobody's next command goes to another cluster than they think.
    pub fn upsert(&mut self, name: impl Into<String>, mut context: Context) {
        let name = name.into();
        if self.current.is_none() {
            self.current = Some(name.clone());
        }
        if let Some(known) = self.contexts.remove(&name) {
            for (key, value) in known.rest {
                context.rest.entry(key).or_insert(value);
            }
        }
        self.contexts.insert(name, context);
    }
}

impl Context {
    /// A context with a login that was given at `now`. It is time for a fresh one when two
    /// thirds of that are over.
    #[must_use]
    pub fn logged_in(server: String, login: LoginView, now: WallTime) -> Self {
        let LoginView { token, expires_at, refresh_token, username } = login;
        let refresh_at = WallTime(now.0 + (expires_at.0 - now.0).max(0) / 3 * 2);
        Self {
            server,
            token: Some(token),
            refresh_token: Some(refresh_token),
            username: Some(username.to_string()),
            expires_at: Some(expires_at),
            refresh_at: Some(refresh_at),
            ..Self::default()
        }
    }

    /// The same trusted as `other` is, which is at the same server.
    #[must_use]
    pub fn trusted_as(self, other: &Self) -> Self {
        Self { ca: other.ca.clone(), fingerprint: other.fingerprint.clone(), ..self }
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
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(server: &str) -> Context {
        Context { server: server.to_owned(), token: Some("secret".to_owned()), ..Context::default() }
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
    fn a_context_is_replaced_by_name_and_what_is_not_ours_stays() {
        let mut file = ContextFile::default();
        let mut old = context("http://old");
        old.rest.insert("pager".to_owned(), true.into());
        file.upsert("a", old);
        file.upsert("a", context("http://new"));
        assert_eq!(file.contexts["a"].server, "http://new");
        assert_eq!(file.contexts["a"].rest["pager"].as_bool(), Some(true));
    }

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let login = LoginView {
            token: "t".into(),
            expires_at: WallTime(4000),
            refresh_token: "r".into(),
            username: "u".parse().expect("a name"),
        };
        let context = Context::logged_in("s".into(), login.clone(), WallTime(1000));
        assert_eq!(context.refresh_at, Some(WallTime(3000)));
        let over = Context::logged_in("s".into(), login, WallTime(5000));
        assert_eq!(over.refresh_at, Some(WallTime(5000)));
    }

    #[test]
    fn trust_is_kept_where_it_is_and_replaced_with_the_server() {
        let known = Context { ca: Some("PEM".into()), fingerprint: Some("sha256:00".into()), ..context("https://a") };
        let fresh = context("https://a").trusted_as(&known);
        assert_eq!(fresh, known);
        let mut file = ContextFile::default();
        file.upsert("a", known);
        file.upsert("a", context("http://127.0.0.1:8080"));
        assert_eq!(file.contexts["a"].fingerprint, None);
        let text = toml::to_string(&file).expect("TOML");
        assert!(!text.contains("ca =") && !text.contains("fingerprint"), "{text}");
    }

    #[test]
    fn the_token_is_not_in_debug_output() {
        assert!(!format!("{:?}", context("http://a")).contains("secret"));
    }
}
