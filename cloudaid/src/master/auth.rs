//! Who calls: passwords, tokens, and the one rule about whose things a caller may see.
//!
//! The only ways in are a password, an invitation for one name, and the setup token of the very first start. Who calls is
//! read from the verified token and from nothing else, and what they may do from their account as it is now.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::account::UserRecord;
use cloudaid_core::guesses::Guesses;
use cloudaid_core::login::LoginKind;
use cloudaid_core::reject::Reject;
use shared::error::{ApiError, ErrorCode};
use shared::id::{LoginId, TokenId, UserName};
use shared::role::Role;
use shared::view::{KeysView, LoginView, SetupRequest};

use crate::clock;
use crate::config::{Registration, Secret};
use crate::master::handle::ClusterHandle;

mod gate;
mod keys;
mod login;
mod manage;
mod password;
mod personal;
mod seal;
mod secret;
mod token;

pub(crate) use gate::network;
pub use login::CookieLogin;
pub use secret::{SECRET_MIN, SecretError, check_secret, constant_time_eq, ensure_secret};

use gate::Gate;
use keys::{Keys, RotateError};
use password::Passwords;

/// Where the setup token is kept, below the data directory.
const SETUP_FILE: &str = "setup.token";

/// A caller, as what it came with proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose token it is.
    pub user: UserName,
    /// What they may do.
    pub role: Role,
    /// What they came with.
    pub via: Via,
}

/// What somebody gets in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The token of a login.
    Login(LoginId),
    /// The cookie of a login.
    Browser(LoginId),
    /// A personal token.
    Token(TokenId),
}

impl std::fmt::Display for Via {
    /// As the audit log has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Login(_) => f.write_str("login"),
            Self::Browser(_) => f.write_str("cookie"),
            Self::Token(id) => write!(f, "token:{id}"),
        }
    }
}

impl Principal {
    /// Whether this caller may do everything.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

/// Whether `principal` may see and change what belongs to `owner`: the one place where that is decided.
#[must_use]
pub fn may_see(principal: &Principal, owner: &UserName) -> bool {
    principal.is_admin() || principal.user == *owner
}

/// Why a login or setup did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Refused; the error says why.
    #[error("{0}")]
    Refused(#[from] ApiError),
    /// Too many wrong passwords from this address.
    #[error("too many failed logins from this address")]
    Throttled(Duration),
    /// Too many logins at once.
    #[error("too many logins at once")]
    Busy,
}

/// Checks passwords, makes and checks tokens. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    passwords: Passwords,
    keys: Keys,
    gate: Gate,
    ttl: Duration,
    registration: Registration,
    setup_file: PathBuf,
    cluster: ClusterHandle,
}

impl std::fmt::Debug for Auth {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("ttl", &self.inner.ttl).finish_non_exhaustive()
    }
}

/// Makes the first account, once.
pub struct SetupToken {
    /// Where it is kept until then.
    pub file: PathBuf,
    /// The token itself.
    pub token: String,
}

/// What [`Auth`] is made of.
#[derive(Debug)]
pub struct AuthConfig<'a> {
    /// Signs the tokens; if none, one is made and kept.
    pub jwt_secret: Option<&'a Secret>,
    /// What the secret was before.
    pub previous_jwt_secret: Option<&'a Secret>,
    /// How long a token lives.
    pub ttl: Duration,
    /// Who may make an account for themselves.
    pub registration: Registration,
    /// How many characters a new password has at least.
    pub least_password_chars: usize,
    /// Where the setup token is kept, and a secret that was made.
    pub data_dir: &'a Path,
}

#[cfg(test)]
impl<'a> AuthConfig<'a> {
    /// One of a test: keys and setup token are made in `data_dir`.
    pub(crate) fn in_directory(data_dir: &'a Path) -> Self {
        let (ttl, registration) = (Duration::from_secs(60), Registration::Invite);
        Self { jwt_secret: None, previous_jwt_secret: None, ttl, registration, least_password_chars: 12, data_dir }
    }
}

impl Auth {
    /// Works on the accounts of `cluster`, and goes on counting the wrong passwords of before.
    ///
    /// # Errors
    /// A secret is too short or a known sample, can be read by others, cannot be made, or cannot sign.
    pub fn new(config: &AuthConfig<'_>, cluster: ClusterHandle, guesses: Guesses) -> Result<Self, SecretError> {
        let configured = config.jwt_secret.map(|newest| (newest, config.previous_jwt_secret));
        let keys = Keys::load(configured, config.data_dir)?;
        keys.self_test().map_err(SecretError::Unusable)?;
        let inner = Inner {
            passwords: Passwords::new(config.least_password_chars),
            keys,
            gate: Gate::new(guesses),
            ttl: config.ttl,
            registration: config.registration,
            setup_file: config.data_dir.join(SETUP_FILE),
            cluster,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Signs with a new key from now on. What the present one has signed stays good, until it is replaced too.
    ///
    /// # Errors
    /// The keys are given by the configuration, or cannot be written.
    pub fn rotate_keys(&self) -> Result<KeysView, ApiError> {
        let ring = self.inner.keys.rotate().map_err(|error| match error {
            RotateError::Configured => {
                let hint = "put it into JWT_SECRET_PREVIOUS and a new one into JWT_SECRET, then restart the master";
                ApiError::new(ErrorCode::Conflict, error.to_string(), hint)
            }
            RotateError::Secret(error) => {
                tracing::error!(%error, "a signing secret cannot be kept");
                ApiError::new(ErrorCode::Internal, "the new key cannot be kept", "see the master's log")
            }
        })?;
        tracing::warn!(key = %ring.newest.id, "tokens are signed with a new key");
        let previous_key_id = ring.previous.as_ref().map(|key| key.id.clone());
        Ok(KeysView { key_id: ring.newest.id.clone(), previous_key_id })
    }

    /// Makes the setup token if there is no account yet, and returns it; removes it otherwise.
    ///
    /// # Errors
    /// The accounts cannot be read, or the file cannot be made.
    pub fn ensure_setup_token(&self) -> Result<Option<SetupToken>, ApiError> {
        let file = self.inner.setup_file.clone();
        if !self.inner.cluster.accounts().is_empty() {
            self.remove_setup_token().map_err(|error| file_failed(&file, &error))?;
            return Ok(None);
        }
        let token = ensure_secret(&file).map_err(|error| file_failed(&file, &error))?;
        Ok(Some(SetupToken { file, token }))
    }

    /// Makes the first account, an admin, for whoever holds the setup token.
    ///
    /// # Errors
    /// Wrong token, bad name or password, or there is an account already.
    pub async fn setup(&self, request: SetupRequest, from: IpAddr) -> Result<LoginView, LoginError> {
        let expected = match std::fs::read_to_string(&self.inner.setup_file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(setup_done().into()),
            Err(error) => return Err(file_failed(&self.inner.setup_file, &error).into()),
        };
        if !constant_time_eq(expected.trim().as_bytes(), request.setup_token.trim().as_bytes()) {
            return Err(wrong_setup_token().into());
        }
        let name = manage::user_name(&request.username)?;
        self.inner.passwords.check_new(&request.password, &name).await?;
        let user = self.new_user(name, request.password, Role::Admin).await?;
        self.inner.cluster.create_first_user(user.clone()).await?;
        if let Err(error) = self.remove_setup_token() {
            // Harmless: the account exists, and the next start removes it.
            tracing::warn!(file = %self.inner.setup_file.display(), %error, "the used setup token could not be removed");
        }
        Ok(self.begin(&user, LoginKind::Tool, Some(from)).await?)
    }

    /// Makes the first account, an admin, with a password that nobody knows: for `dev`, which gives out tokens by itself.
    ///
    /// # Errors
    /// There is an account already.
    pub async fn create_unguessable(&self, name: &UserName) -> Result<(), ApiError> {
        let password = hex::encode(rand::random::<[u8; 32]>());
        let user = self.new_user(name.clone(), password, Role::Admin).await;
        let user = user.map_err(|error| ApiError::new(ErrorCode::Unavailable, error.to_string(), "start again"))?;
        self.inner.cluster.create_first_user(user).await
    }

    async fn new_user(&self, name: UserName, password: String, role: Role) -> Result<UserRecord, LoginError> {
        let password_hash = self.inner.passwords.hash(password).await?;
        let created_at = clock::wall();
        Ok(UserRecord { name, password_hash, role, created_at, disabled: false })
    }

    /// A login without a password, for the person who runs this process.
    ///
    /// # Errors
    /// There is no such account, or it is disabled.
    pub async fn login_local(&self, user: &UserName) -> Result<LoginView, ApiError> {
        self.begin(&self.account(user)?, LoginKind::Local, None).await
    }

    /// Who stands behind a bearer token, with the rights that they have now.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`]: expired, forged, not ours, or of an account that has changed since.
    pub fn verify(&self, bearer: &str) -> Result<Principal, ApiError> {
        if let Some(personal) = self.verify_personal(bearer) {
            return personal;
        }
        let (user, login) = self.inner.keys.verify(bearer)?;
        self.of_login(login, Some(&user), Via::Login(login))
    }

    /// Whether somebody who has come in before may still be here, with the same rights.
    ///
    /// # Errors
    /// What they came with has ended, or they may do less.
    pub fn recheck(&self, caller: &Principal) -> Result<(), ApiError> {
        let now = match caller.via {
            Via::Login(id) | Via::Browser(id) => self.of_login(id, Some(&caller.user), caller.via)?,
            Via::Token(id) => self.of_token(id).ok_or_else(end_of_login)?,
        };
        if now.role < caller.role { Err(end_of_login()) } else { Ok(()) }
    }

    fn account(&self, name: &UserName) -> Result<UserRecord, ApiError> {
        self.inner.cluster.accounts().find(name).ok_or_else(|| user_not_found(name.clone()))
    }

    fn remove_setup_token(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.inner.setup_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// There is no account of this name, or none that the caller may see: the two read the same.
#[must_use]
pub fn user_not_found(name: UserName) -> ApiError {
    Reject::UserNotFound(name).into()
}

fn end_of_login() -> ApiError {
    Reject::LoginOver.into()
}

fn cannot_sign(error: &jsonwebtoken::errors::Error) -> ApiError {
    tracing::error!(%error, "a token could not be signed");
    ApiError::new(ErrorCode::Internal, "the token could not be made", "see the master's log")
}

fn wrong_setup_token() -> ApiError {
    let hint = format!("it is in {SETUP_FILE} in the master's data directory");
    ApiError::new(ErrorCode::Unauthenticated, "wrong setup token", hint)
}

fn setup_done() -> ApiError {
    let hint = "log in with an account; without one, look for setup.token in the master's data directory";
    ApiError::new(ErrorCode::Conflict, "the first account was made already", hint)
}

/// The client learns no path of ours; the log does.
fn file_failed(file: &Path, error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(file = %file.display(), %error, "the setup token cannot be used");
    ApiError::new(ErrorCode::Internal, "the setup token cannot be read or made", "see the master's log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_see_their_own_and_admins_see_all() {
        let name = |text: &str| text.parse::<UserName>().expect("a name");
        let via = Via::Login(LoginId(7u128.into()));
        let user = Principal { user: name("ann"), role: Role::User, via };
        assert!(may_see(&user, &name("ann")));
        for other in ["an", "anne", "Ann", "bob"] {
            assert!(!may_see(&user, &name(other)), "{other}");
        }
        assert!(may_see(&Principal { user: name("root"), role: Role::Admin, via }, &name("ann")));
    }

    #[tokio::test]
    async fn setup_needs_the_token_a_good_name_and_a_good_password() {
        let directory = tempfile::tempdir().expect("a directory");
        let logs = crate::master::logs::LogStore::open(&directory.path().join("logs")).expect("logs");
        let config = AuthConfig::in_directory(directory.path());
        let auth = Auth::new(&config, ClusterHandle::detached(logs), Guesses::default()).expect("auth");
        let setup = async |setup_token: &str, username: &str, password: &str| {
            let (username, password) = (username.to_owned(), password.to_owned());
            let request = SetupRequest { setup_token: setup_token.to_owned(), username, password };
            match auth.setup(request, [127, 0, 0, 1].into()).await {
                Err(LoginError::Refused(error)) => error.code,
                _ => panic!("not refused"),
            }
        };
        assert_eq!(setup("", "ann", "a long password").await, ErrorCode::Conflict, "there is no setup token");
        let token = ensure_secret(&directory.path().join(SETUP_FILE)).expect("made");
        for wrong in ["", "x", &token[1..], &format!("{token}0")] {
            assert_eq!(setup(wrong, "ann", "a long password").await, ErrorCode::Unauthenticated, "{wrong}");
        }
        assert_eq!(setup(&token, "../ann", "a long password").await, ErrorCode::InvalidArgument);
        assert_eq!(setup(&token, "ann", "short").await, ErrorCode::InvalidArgument);
        assert!(directory.path().join(SETUP_FILE).exists(), "a failure does not use it up");
    }
}
