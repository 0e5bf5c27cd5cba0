//! Logging in, staying in, and getting out.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use cloudaid_core::account::{AccountChange, UserRecord};
use cloudaid_core::guesses::{GuessChange, GuessKey};
use cloudaid_core::login::{LoginChange, LoginKind, LoginRecord};
use shared::error::{ApiError, ErrorCode};
use shared::id::{LoginId, UserName};
use shared::time::WallTime;
use shared::view::{LoginRequest, LoginView, MeView};
use ulid::Ulid;

use super::gate::network;
use super::password::{self, dummy_hash};
use super::seal::{self, Purpose};
use super::{Auth, LoginError, Principal, Via, cannot_sign, end_of_login};
use crate::clock;
use crate::master::call::Call;

/// The use of a cookie is noted this far apart: each note is a commit.
const NOTED: Duration = Duration::from_secs(3600);

/// What a browser gets.
#[derive(Debug)]
pub struct CookieLogin {
    /// For the cookie. Secret.
    pub secret: String,
    /// Who it stands for.
    pub view: MeView,
    /// When it stops to work at the latest.
    pub expires_at: WallTime,
}

impl Auth {
    /// Tokens for whoever knows the password. Unknown names, wrong passwords, disabled accounts and such as take no more
    /// passwords for now read the same, and take as long.
    ///
    /// # Errors
    /// Wrong name or password, or too many tries from this address.
    pub async fn login(&self, request: LoginRequest, from: IpAddr) -> Result<LoginView, LoginError> {
        let user = self.authenticate(request, from).await?;
        Ok(self.begin(&user, LoginKind::Tool, Some(from)).await?)
    }

    /// The same for a browser, which keeps a cookie.
    ///
    /// # Errors
    /// As [`Auth::login`].
    pub async fn login_browser(&self, request: LoginRequest, from: IpAddr) -> Result<CookieLogin, LoginError> {
        let user = self.authenticate(request, from).await?;
        let login = self.begin_login(&user, LoginKind::Browser, Some(from)).await?;
        let secret = self.cookie_of(&login);
        Ok(CookieLogin { secret, view: MeView { username: user.name, role: user.role }, expires_at: login.ends_at() })
    }

    /// The account of whoever knows its password.
    async fn authenticate(&self, request: LoginRequest, from: IpAddr) -> Result<UserRecord, LoginError> {
        password::check_length(&request.password)?;
        let from = network(from);
        self.inner.gate.check(from, Instant::now()).map_err(LoginError::Throttled)?;
        let name = request.username.parse::<UserName>().ok();
        if let Some(name) = &name {
            Call::about(name.as_str());
        }
        let tried = name.as_ref().map(|name| self.inner.gate.begin(&self.guess_key(name, from), clock::wall()));
        let admitted = tried.as_ref().is_some_and(super::gate::Try::is_admitted);
        let user = name.as_ref().and_then(|name| self.inner.cluster.accounts().find(name));
        // Whether it counts or not, one hash is computed.
        let hash =
            user.as_ref().filter(|_| admitted).map_or_else(|| dummy_hash().into(), |user| user.password_hash.clone());
        let matches = self.inner.passwords.verify(request.password.clone(), hash).await?;
        match user {
            Some(user) if matches && admitted && !user.disabled => {
                self.keep(tried.map(super::gate::Try::succeeded).unwrap_or_default());
                self.renew_hash(user, request.password).await
            }
            _ => {
                self.inner.gate.failed(from, Instant::now());
                self.keep(tried.map(|tried| tried.failed(clock::wall())).unwrap_or_default());
                if let Some(name) = &name {
                    tracing::info!(user = %name, address = %from, "a login was refused");
                }
                Err(wrong_password().into())
            }
        }
    }

    /// What a try for `name` is counted with.
    pub(super) fn guess_key(&self, name: &UserName, network: IpAddr) -> GuessKey {
        let known = self.inner.cluster.accounts().is_known(name, network, clock::wall());
        GuessKey { name: name.clone(), place: known.then_some(network) }
    }

    /// Nobody waits for it, so that an answer takes as long whether there is something to keep or not.
    pub(super) fn keep(&self, changes: Vec<GuessChange>) {
        let cluster = self.inner.cluster.clone();
        tokio::spawn(async move {
            if let Err(error) = cluster.keep_guesses(changes).await {
                tracing::warn!(error = %error.message, "failed logins could not be counted for good");
            }
        });
    }

    /// A hash with parameters of before is replaced while the password is known.
    async fn renew_hash(&self, user: UserRecord, password: String) -> Result<UserRecord, LoginError> {
        if password::is_current(&user.password_hash) {
            return Ok(user);
        }
        let hash = self.inner.passwords.hash(password).await?;
        let change = AccountChange::Rehash { verified: user.password_hash.clone(), hash: hash.clone() };
        self.inner.cluster.change_account(user.name.clone(), change).await?;
        Ok(UserRecord { password_hash: hash, ..user })
    }

    /// Tokens for an account whose password was verified, or whose word is good without.
    pub(super) async fn begin(
        &self,
        user: &UserRecord,
        kind: LoginKind,
        from: Option<IpAddr>,
    ) -> Result<LoginView, ApiError> {
        let login = self.begin_login(user, kind, from).await?;
        self.tokens_of(&login, login.serial)
    }

    async fn begin_login(
        &self,
        user: &UserRecord,
        kind: LoginKind,
        from: Option<IpAddr>,
    ) -> Result<LoginRecord, ApiError> {
        let now = clock::wall();
        let login = LoginRecord {
            id: LoginId(Ulid::generate()),
            user: user.name.clone(),
            kind,
            address: from.map(network),
            serial: 0,
            created_at: now,
            renewed_at: now,
        };
        let verified = Some(user.password_hash.clone());
        self.inner.cluster.change_login(LoginChange::Begin { login: login.clone(), verified }).await?;
        Ok(login)
    }

    /// New tokens for whoever shows the token that renews a login: it is good once.
    ///
    /// # Errors
    /// The login has ended, or ends now, because the token was replaced before.
    pub async fn refresh(&self, refresh_token: &str) -> Result<LoginView, ApiError> {
        let (id, serial) = seal::open(&self.inner.keys, Purpose::Refresh, refresh_token.trim()).ok_or_else(|| {
            let hint = "log in again: `cloudctl login`";
            ApiError::new(ErrorCode::Unauthenticated, "the token that renews a login is not valid here", hint)
        })?;
        Call::about(&id.to_string());
        self.inner.cluster.change_login(LoginChange::Renew(id, serial)).await?;
        let login = self.inner.cluster.accounts().find_login(id).ok_or_else(end_of_login)?;
        self.tokens_of(&login, serial.saturating_add(1))
    }

    /// The secret of a login of a browser.
    pub(crate) fn cookie_of(&self, login: &LoginRecord) -> String {
        seal::seal(&self.inner.keys, Purpose::Cookie, login.id, login.serial)
    }

    /// The tokens of a login; `serial` numbers the one that renews it.
    pub(crate) fn tokens_of(&self, login: &LoginRecord, serial: u32) -> Result<LoginView, ApiError> {
        let signed = self.inner.keys.sign(&login.user, login.id, self.inner.ttl);
        let (token, expires_at) = signed.map_err(|error| cannot_sign(&error))?;
        let refresh_token = seal::seal(&self.inner.keys, Purpose::Refresh, login.id, serial);
        Ok(LoginView { token, expires_at, refresh_token, username: login.user.clone() })
    }

    /// Who comes with a cookie.
    ///
    /// # Errors
    /// It is not ours, or the login has ended.
    pub fn verify_cookie(&self, secret: &str) -> Result<Principal, ApiError> {
        let (id, _) = seal::open(&self.inner.keys, Purpose::Cookie, secret).ok_or_else(end_of_login)?;
        let principal = self.of_login(id, None, Via::Browser(id))?;
        let login = self.inner.cluster.accounts().find_login(id);
        if login.is_some_and(|login| login.renewed_at + NOTED <= clock::wall()) {
            self.note_login(id);
        }
        Ok(principal)
    }

    /// Nobody waits for it: a note that is lost is an hour of seven days.
    fn note_login(&self, id: LoginId) {
        let cluster = self.inner.cluster.clone();
        tokio::spawn(async move {
            if let Err(error) = cluster.change_login(LoginChange::Used(id)).await {
                tracing::debug!(%id, error = %error.message, "the use of a login could not be noted");
            }
        });
    }

    /// Who stands behind a login that goes on. `named`: whom the token names.
    pub(super) fn of_login(&self, id: LoginId, named: Option<&UserName>, via: Via) -> Result<Principal, ApiError> {
        let accounts = self.inner.cluster.accounts();
        let login = accounts.find_login(id).filter(|login| !login.is_over(clock::wall()));
        let login = login.filter(|login| named.is_none_or(|named| *named == login.user)).ok_or_else(end_of_login)?;
        let user = accounts.find(&login.user).filter(|user| !user.disabled).ok_or_else(end_of_login)?;
        Ok(Principal { user: user.name, role: user.role, via })
    }

    /// Ends the login that the caller came with, or all of the caller's.
    ///
    /// # Errors
    /// The caller came with a personal token, which is no login, or the master is stopping.
    pub async fn logout(&self, caller: &Principal, everywhere: bool) -> Result<(), ApiError> {
        match caller.via {
            Via::Login(_) | Via::Browser(_) if everywhere => self.end_logins(&caller.user).await,
            Via::Login(id) | Via::Browser(id) => self.inner.cluster.change_login(LoginChange::End(id)).await,
            Via::Token(id) => {
                let hint = format!("end it with `cloudctl tokens revoke {id}`");
                Err(ApiError::new(ErrorCode::Conflict, "a personal token is no login", hint))
            }
        }
    }
}

fn wrong_password() -> ApiError {
    let hint = "check both; after 5 wrong passwords an account takes none for a while, up to 15 minutes";
    ApiError::new(ErrorCode::Unauthenticated, "wrong user name or password", hint)
}
