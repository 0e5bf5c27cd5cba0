//! Who calls: passwords, tokens, and the one rule about whose things a caller may see.
//!
//! The only ways in are a password, an invitation for one name, and the setup token of the very first start. Who calls is
//! read from the verified token and from nothing else, and what they may do from their account as it is now.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloudaid_core::account::{AccountChange, UserRecord};
use cloudaid_core::reject::Reject;
use shared::error::{ApiError, ErrorCode};
use shared::id::{TokenId, UserName};
use shared::role::Role;
use shared::view::{LoginRequest, LoginView, SetupRequest};

use crate::clock;
use crate::config::Registration;
use crate::master::handle::ClusterHandle;

mod manage;
mod password;
mod personal;
mod secret;
mod throttle;
mod token;

pub use secret::{SECRET_MIN, SecretError, check_secret, constant_time_eq, ensure_secret};

use password::{Passwords, dummy_hash};
use throttle::Throttle;
use token::{Bearer, Tokens};

/// Where the setup token is kept, below the data directory.
const SETUP_FILE: &str = "setup.token";
/// Where a generated signing secret is kept, below the data directory.
const JWT_FILE: &str = "jwt.secret";

/// How long after a login its token can be refreshed.
const LOGIN_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A caller, as its token proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose token it is.
    pub user: UserName,
    /// What they may do.
    pub role: Role,
    /// The personal token that they came with; none: they have logged in.
    pub token: Option<TokenId>,
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
    /// Too many wrong passwords for this account.
    #[error("too many failed logins for this account")]
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
    tokens: Tokens,
    throttle: Throttle,
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

impl Auth {
    /// `secret` signs the tokens, which live for `ttl`. The setup token is kept in `data_dir`.
    ///
    /// # Errors
    /// The secret is too short or a known sample, or it cannot sign.
    pub fn new(
        secret: &str,
        ttl: Duration,
        registration: Registration,
        data_dir: &Path,
        cluster: ClusterHandle,
    ) -> Result<Self, SecretError> {
        check_secret(secret)?;
        let tokens = Tokens::new(secret.as_bytes());
        tokens.self_test().map_err(SecretError::Unusable)?;
        let inner = Inner {
            passwords: Passwords::new(),
            tokens,
            throttle: Throttle::default(),
            ttl,
            registration,
            setup_file: data_dir.join(SETUP_FILE),
            cluster,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The secret of `configured`, or the one that was generated for this data directory.
    ///
    /// # Errors
    /// It is too short, a known sample, readable by others, or cannot be read or made.
    pub fn ensure_jwt_secret(configured: Option<&str>, data_dir: &Path) -> Result<String, SecretError> {
        match configured {
            Some(secret) => check_secret(secret).map(|()| secret.to_owned()),
            None => ensure_secret(&data_dir.join(JWT_FILE)),
        }
    }

    /// Makes the setup token if there is no account yet, and returns where it is; removes it otherwise.
    ///
    /// # Errors
    /// The accounts cannot be read, or the file cannot be made.
    pub fn ensure_setup_token(&self) -> Result<Option<PathBuf>, ApiError> {
        let file = self.inner.setup_file.clone();
        if !self.inner.cluster.accounts().is_empty() {
            self.remove_setup_token().map_err(|error| file_failed(&file, &error))?;
            return Ok(None);
        }
        ensure_secret(&file).map_err(|error| file_failed(&file, &error))?;
        Ok(Some(file))
    }

    /// Makes the first account, an admin, for whoever holds the setup token.
    ///
    /// # Errors
    /// Wrong token, bad name or password, or there is an account already.
    pub async fn setup(&self, request: SetupRequest) -> Result<LoginView, LoginError> {
        let expected = match std::fs::read_to_string(&self.inner.setup_file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(setup_done().into()),
            Err(error) => return Err(file_failed(&self.inner.setup_file, &error).into()),
        };
        if !constant_time_eq(expected.trim().as_bytes(), request.setup_token.trim().as_bytes()) {
            return Err(wrong_setup_token().into());
        }
        let name = manage::user_name(&request.username)?;
        password::check_new(&request.password)?;
        let user = self.new_user(name.clone(), request.password, Role::Admin).await?;
        self.inner.cluster.create_first_user(user).await?;
        if let Err(error) = self.remove_setup_token() {
            // Harmless: the account exists, and the next start removes it.
            tracing::warn!(file = %self.inner.setup_file.display(), %error, "the used setup token could not be removed");
        }
        Ok(self.issue(&name, self.inner.ttl)?)
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

    /// A token for whoever knows the password. Unknown names take as long and read the same as wrong passwords.
    ///
    /// # Errors
    /// Wrong name or password, or too many tries.
    pub async fn login(&self, request: LoginRequest) -> Result<LoginView, LoginError> {
        password::check_length(&request.password)?;
        let name = request.username.parse::<UserName>().ok();
        if let Some(name) = &name {
            self.inner.throttle.check(name, Instant::now()).map_err(LoginError::Throttled)?;
        }
        let user = name.as_ref().and_then(|name| self.inner.cluster.accounts().find(name));
        let hash = user.as_ref().map_or_else(|| dummy_hash().to_owned(), |user| user.password_hash.clone());
        let matches = self.inner.passwords.verify(request.password.clone(), hash).await?;
        match user {
            Some(user) if matches && !user.disabled => {
                self.inner.throttle.succeeded(&user.name);
                self.renew_hash(&user, request.password).await?;
                Ok(self.issue(&user.name, self.inner.ttl)?)
            }
            _ => {
                if let Some(name) = &name {
                    tracing::info!(user = %name, "a login was refused");
                    self.inner.throttle.failed(name, Instant::now());
                }
                Err(wrong_password().into())
            }
        }
    }

    /// A hash with parameters of before is replaced while the password is known.
    async fn renew_hash(&self, user: &UserRecord, password: String) -> Result<(), LoginError> {
        if password::is_current(&user.password_hash) {
            return Ok(());
        }
        let hash = self.inner.passwords.hash(password).await?;
        let change = AccountChange::Rehash { verified: user.password_hash.clone(), hash };
        Ok(self.inner.cluster.change_account(user.name.clone(), change).await?)
    }

    async fn new_user(&self, name: UserName, password: String, role: Role) -> Result<UserRecord, LoginError> {
        let password_hash = self.inner.passwords.hash(password).await?;
        let created_at = clock::wall();
        Ok(UserRecord { name, password_hash, role, created_at, generation: 0, disabled: false })
    }

    /// A token for an account, without a password: for this process itself (the context that `dev` writes).
    ///
    /// # Errors
    /// There is no such account, or the token cannot be signed.
    pub fn issue(&self, user: &UserName, ttl: Duration) -> Result<LoginView, ApiError> {
        self.sign(&self.account(user)?, ttl, None)
    }

    fn sign(&self, user: &UserRecord, ttl: Duration, login: Option<u64>) -> Result<LoginView, ApiError> {
        let signed = self.inner.tokens.sign(&user.name, user.generation, ttl, login);
        let (token, expires_at) = signed.map_err(|error| cannot_sign(&error))?;
        Ok(LoginView { token, expires_at, username: user.name.clone() })
    }

    /// A fresh token for whoever has one that is still good. The time since the login counts on, so that a token that was
    /// stolen cannot be kept alive for ever.
    ///
    /// # Errors
    /// The token is not good, or the login is too long ago.
    pub fn refresh(&self, bearer: &str) -> Result<LoginView, ApiError> {
        let (user, login) = self.bearer(bearer)?;
        let age = jsonwebtoken::get_current_timestamp().saturating_sub(login);
        let left = LOGIN_LIFE.as_secs().saturating_sub(age);
        if left == 0 {
            let message = format!("the login is older than {} days", LOGIN_LIFE.as_secs() / 86_400);
            return Err(ApiError::new(ErrorCode::Unauthenticated, message, "log in again: `cloudctl login`"));
        }
        self.sign(&user, self.inner.ttl.min(Duration::from_secs(left)), Some(login))
    }

    /// Who stands behind a bearer token, with the rights that they have now.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`]: expired, forged, not ours, or of an account that has changed since.
    pub fn verify(&self, bearer: &str) -> Result<Principal, ApiError> {
        if let Some(personal) = self.verify_personal(bearer) {
            return personal;
        }
        let (user, _) = self.bearer(bearer)?;
        Ok(Principal { user: user.name, role: user.role, token: None })
    }

    /// The account that a token names, and when its password was given, in seconds since 1970.
    fn bearer(&self, token: &str) -> Result<(UserRecord, u64), ApiError> {
        let Bearer { user, generation, login } = self.inner.tokens.verify(token)?;
        let account = self.inner.cluster.accounts().find(&user);
        let good = account.filter(|account| account.generation == generation && !account.disabled);
        let over =
            || ApiError::new(ErrorCode::Unauthenticated, "the login has ended", "log in again: `cloudctl login`");
        Ok((good.ok_or_else(over)?, login))
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

fn wrong_password() -> ApiError {
    ApiError::new(ErrorCode::Unauthenticated, "wrong user name or password", "check both, then log in again")
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
        let user = Principal { user: name("ann"), role: Role::User, token: None };
        assert!(may_see(&user, &name("ann")));
        for other in ["an", "anne", "Ann", "bob"] {
            assert!(!may_see(&user, &name(other)), "{other}");
        }
        assert!(may_see(&Principal { user: name("root"), role: Role::Admin, token: None }, &name("ann")));
    }

    #[tokio::test]
    async fn setup_needs_the_token_a_good_name_and_a_good_password() {
        let directory = tempfile::tempdir().expect("a directory");
        let secret = "0123456789abcdef0123456789abcdef";
        let ttl = Duration::from_secs(60);
        let logs = crate::master::logs::LogStore::open(&directory.path().join("logs")).expect("logs");
        let auth = Auth::new(secret, ttl, Registration::Invite, directory.path(), ClusterHandle::detached(logs))
            .expect("auth");
        let setup = async |setup_token: &str, username: &str, password: &str| {
            let (username, password) = (username.to_owned(), password.to_owned());
            let request = SetupRequest { setup_token: setup_token.to_owned(), username, password };
            match auth.setup(request).await {
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
