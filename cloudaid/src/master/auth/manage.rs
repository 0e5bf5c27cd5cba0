//! Making and changing accounts, after the first one.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use cloudaid_core::account::{AccountChange, UserRecord};
use cloudaid_core::login::LoginKind;
use cloudaid_core::reject::Reject;
use shared::error::{ApiError, ErrorCode};
use shared::id::UserName;
use shared::role::Role;
use shared::view::{
    CreateUserRequest, InviteRequest, InviteView, LoginView, PasswordRequest, RegisterRequest, UpdateUserRequest,
    UserView,
};

use super::gate::network;
use super::{Auth, LoginError, Principal, Via, cannot_sign, password};
use crate::clock;
use crate::config::Registration;
use crate::master::call::Call;

/// How long an invitation is good if nobody says.
const INVITE_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest that one can be good.
const INVITE_TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

impl Auth {
    /// All accounts, by name.
    #[must_use]
    pub fn users(&self) -> Vec<UserView> {
        self.inner.cluster.accounts().list().iter().map(cloudaid_core::account::UserRecord::view).collect()
    }

    /// One account.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn user(&self, name: &UserName) -> Result<UserView, ApiError> {
        Ok(self.account(name)?.view())
    }

    /// Makes an account for somebody else.
    ///
    /// # Errors
    /// A bad name or password, or the name is taken.
    pub async fn create_user(&self, request: CreateUserRequest) -> Result<UserView, LoginError> {
        let name = user_name(&request.username)?;
        self.create(&name, request.password, request.role.unwrap_or(Role::User)).await?;
        Ok(self.user(&name)?)
    }

    /// Makes an account for whoever may: everybody, who was invited, or nobody.
    ///
    /// # Errors
    /// The policy or the invitation does not allow it, a bad name or password, or the name is taken.
    pub async fn register(&self, request: RegisterRequest, from: IpAddr) -> Result<LoginView, LoginError> {
        let name = user_name(&request.username)?;
        let role = match (self.inner.registration, &request.invite) {
            (Registration::Closed, _) => {
                return Err(refused("nobody can register here", "an admin makes accounts").into());
            }
            (_, Some(invite)) => {
                let (invited, role) = self.inner.keys.verify_invite(invite)?;
                if invited != name {
                    return Err(
                        refused("the invitation is for another name", "register with the name it is for").into()
                    );
                }
                role
            }
            (Registration::Open, None) => Role::User,
            (Registration::Invite, None) => {
                return Err(refused("registering needs an invitation", "ask an admin for one").into());
            }
        };
        let user = self.create(&name, request.password, role).await?;
        Ok(self.begin(&user, LoginKind::Tool, Some(from)).await?)
    }

    async fn create(&self, name: &UserName, password: String, role: Role) -> Result<UserRecord, LoginError> {
        self.inner.passwords.check_new(&password, name).await?;
        // Nobody is made to wait for a hash that is of no use; that the name is still free is decided by the core.
        if self.inner.cluster.accounts().find(name).is_some() {
            return Err(ApiError::from(Reject::UserExists(name.clone())).into());
        }
        let user = self.new_user(name.clone(), password, role).await?;
        self.inner.cluster.change_account(name.clone(), AccountChange::Create(user.clone())).await?;
        // Whatever was guessed while nobody had the name.
        self.keep(self.inner.gate.forget(name));
        Ok(user)
    }

    /// Something for somebody to make the account `username` with.
    ///
    /// # Errors
    /// A bad name, one that is taken, or a time that is too long.
    pub fn invite(&self, request: &InviteRequest) -> Result<InviteView, ApiError> {
        let username = user_name(&request.username)?;
        if self.inner.cluster.accounts().find(&username).is_some() {
            return Err(Reject::UserExists(username).into());
        }
        let ttl = request.ttl_seconds.map_or(INVITE_TTL, Duration::from_secs);
        if ttl.is_zero() || ttl > INVITE_TTL_MAX {
            let message = format!("ttl_seconds: must be 1 to {}", INVITE_TTL_MAX.as_secs());
            return Err(ApiError::new(ErrorCode::InvalidArgument, message, "leave it out for 7 days"));
        }
        let role = request.role.unwrap_or(Role::User);
        let signed = self.inner.keys.sign_invite(&username, role, ttl);
        let (invite, expires_at) = signed.map_err(|error| cannot_sign(&error))?;
        Ok(InviteView { invite, username, role, expires_at })
    }

    /// Changes what is named, all of it or nothing.
    ///
    /// # Errors
    /// There is no such account, a bad password, or nobody could administer the cluster then.
    pub async fn update_user(&self, name: &UserName, request: UpdateUserRequest) -> Result<UserView, LoginError> {
        let UpdateUserRequest { role, disabled, password } = request;
        self.account(name)?;
        let role_text = role.map(|role| format!(" role={role}")).unwrap_or_default();
        let disabled_text = disabled.map(|disabled| format!(" disabled={disabled}")).unwrap_or_default();
        let password_text = if password.is_some() { " password" } else { "" };
        Call::about(&format!("{name}{role_text}{disabled_text}{password_text}"));
        if let Some(password) = &password {
            self.inner.passwords.check_new(password, name).await?;
        }
        let hash = match password {
            Some(password) => Some(self.inner.passwords.hash(password).await?),
            None => None,
        };
        let is_new = hash.is_some();
        self.inner.cluster.change_account(name.clone(), AccountChange::Update { hash, role, disabled }).await?;
        if is_new {
            self.keep(self.inner.gate.forget(name));
        }
        Ok(self.user(name)?)
    }

    /// Ends all logins of an account.
    ///
    /// # Errors
    /// There is no such account.
    pub async fn end_logins(&self, name: &UserName) -> Result<(), ApiError> {
        self.inner.cluster.change_account(name.clone(), AccountChange::EndLogins).await
    }

    /// Another password for the caller. All their other logins end.
    ///
    /// # Errors
    /// The old password is wrong or no other is looked at for now, or the new one is bad.
    pub async fn change_password(
        &self,
        caller: &Principal,
        request: PasswordRequest,
        from: IpAddr,
    ) -> Result<(), LoginError> {
        password::check_length(&request.old_password)?;
        self.inner.passwords.check_new(&request.new_password, &caller.user).await?;
        let user = self.account(&caller.user)?;
        let from = network(from);
        self.inner.gate.check(from, Instant::now()).map_err(LoginError::Throttled)?;
        let tried = self.inner.gate.begin(&self.guess_key(&user.name, from), clock::wall());
        let admitted = tried.is_admitted();
        let verified = user.password_hash;
        if !self.inner.passwords.verify(request.old_password, verified.clone()).await? || !admitted {
            self.inner.gate.failed(from, Instant::now());
            self.keep(tried.failed(clock::wall()));
            let hint = "check it; after 5 wrong ones none is looked at for a while, up to 15 minutes";
            return Err(refused("the old password is wrong", hint).into());
        }
        let hash = self.inner.passwords.hash(request.new_password).await?;
        let kept = match caller.via {
            Via::Login(id) | Via::Browser(id) => Some(id),
            Via::Token(_) => None,
        };
        let change = AccountChange::OwnPassword { verified, hash, kept };
        self.inner.cluster.change_account(user.name.clone(), change).await?;
        drop(tried);
        self.keep(self.inner.gate.forget(&user.name));
        Ok(())
    }
}

/// The name that a request is about.
pub(super) fn user_name(text: &str) -> Result<UserName, ApiError> {
    let name = text.parse::<UserName>().inspect(|name| Call::about(name.as_str()));
    name.map_err(|error| ApiError::new(ErrorCode::InvalidArgument, format!("username: {error}"), "choose another name"))
}

fn refused(message: &str, hint: &str) -> ApiError {
    ApiError::new(ErrorCode::PermissionDenied, message, hint)
}
