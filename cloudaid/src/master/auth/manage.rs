//! Making and changing accounts, after the first one.

use std::time::Duration;

use cloudaid_core::account::AccountChange;
use shared::error::{ApiError, ErrorCode};
use shared::id::UserName;
use shared::role::Role;
use shared::view::{
    CreateUserRequest, InviteRequest, InviteView, LoginView, PasswordRequest, RegisterRequest, UpdateUserRequest,
    UserView,
};

use super::{Auth, LoginError, Principal, cannot_sign, password};
use crate::config::Registration;

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
    pub async fn register(&self, request: RegisterRequest) -> Result<LoginView, LoginError> {
        let name = user_name(&request.username)?;
        let role = match (self.inner.registration, &request.invite) {
            (Registration::Closed, _) => {
                return Err(refused("nobody can register here", "an admin makes accounts").into());
            }
            (_, Some(invite)) => {
                let (invited, role) = self.inner.tokens.verify_invite(invite)?;
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
        self.create(&name, request.password, role).await?;
        Ok(self.issue(&name, self.inner.ttl)?)
    }

    async fn create(&self, name: &UserName, password: String, role: Role) -> Result<(), LoginError> {
        password::check_new(&password)?;
        let user = self.new_user(name.clone(), password, role).await?;
        Ok(self.inner.cluster.change_account(name.clone(), AccountChange::Create(user)).await?)
    }

    /// Something for somebody to make the account `username` with.
    ///
    /// # Errors
    /// A bad name, one that is taken, or a time that is too long.
    pub fn invite(&self, request: &InviteRequest) -> Result<InviteView, ApiError> {
        let username = user_name(&request.username)?;
        if self.inner.cluster.accounts().find(&username).is_some() {
            return Err(cloudaid_core::reject::Reject::UserExists(username).into());
        }
        let ttl = request.ttl_seconds.map_or(INVITE_TTL, Duration::from_secs);
        if ttl.is_zero() || ttl > INVITE_TTL_MAX {
            let message = format!("ttl_seconds: must be 1 to {}", INVITE_TTL_MAX.as_secs());
            return Err(ApiError::new(ErrorCode::InvalidArgument, message, "leave it out for 7 days"));
        }
        let role = request.role.unwrap_or(Role::User);
        let signed = self.inner.tokens.sign_invite(&username, role, ttl);
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
        if let Some(password) = &password {
            password::check_new(password)?;
        }
        let hash = match password {
            Some(password) => Some(self.inner.passwords.hash(password).await?),
            None => None,
        };
        self.inner.cluster.change_account(name.clone(), AccountChange::Update { hash, role, disabled }).await?;
        Ok(self.user(name)?)
    }

    /// Ends all logins of an account.
    ///
    /// # Errors
    /// There is no such account.
    pub async fn end_logins(&self, name: &UserName) -> Result<(), ApiError> {
        self.inner.cluster.change_account(name.clone(), AccountChange::EndLogins).await
    }

    /// Another password for the caller: ends their other logins, and begins a new one.
    ///
    /// # Errors
    /// The old password is wrong, or the new one is bad.
    pub async fn change_password(&self, caller: &Principal, request: PasswordRequest) -> Result<LoginView, LoginError> {
        password::check_length(&request.old_password)?;
        password::check_new(&request.new_password)?;
        let user = self.account(&caller.user)?;
        self.inner.throttle.check(&user.name, std::time::Instant::now()).map_err(LoginError::Throttled)?;
        if !self.inner.passwords.verify(request.old_password, user.password_hash).await? {
            self.inner.throttle.failed(&user.name, std::time::Instant::now());
            let hint = "an admin can set another one: `cloudctl users set-password`";
            return Err(ApiError::new(ErrorCode::PermissionDenied, "the old password is wrong", hint).into());
        }
        let hash = self.inner.passwords.hash(request.new_password).await?;
        let change = AccountChange::Update { hash: Some(hash), role: None, disabled: None };
        self.inner.cluster.change_account(user.name.clone(), change).await?;
        Ok(self.issue(&user.name, self.inner.ttl)?)
    }
}

pub(super) fn user_name(text: &str) -> Result<UserName, ApiError> {
    text.parse()
        .map_err(|error| ApiError::new(ErrorCode::InvalidArgument, format!("username: {error}"), "choose another name"))
}

fn refused(message: &str, hint: &str) -> ApiError {
    ApiError::new(ErrorCode::PermissionDenied, message, hint)
}
