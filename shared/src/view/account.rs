//! Accounts and logins.

use serde::{Deserialize, Serialize};

use crate::id::{TokenId, UserName};
use crate::role::Role;
use crate::time::WallTime;

/// The body of `POST /api/auth/setup`: makes the first admin.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetupRequest {
    /// What the master printed at its first start.
    pub setup_token: String,
    /// The first admin's name.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))]
    pub username: String,
    /// At least 12 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 12, max_length = 1024))]
    pub password: String,
}

/// The body of `POST /api/auth/login`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Name.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))]
    pub username: String,
    /// Password.
    pub password: String,
}

/// The answer to setup, registration, login and refresh.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoginView {
    /// For `Authorization: Bearer`.
    pub token: String,
    /// When it stops to work.
    pub expires_at: WallTime,
    /// For `POST /api/auth/refresh`: renews both, once.
    pub refresh_token: String,
    /// Who it stands for.
    pub username: UserName,
}

/// Without the tokens.
impl std::fmt::Debug for LoginView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("LoginView");
        shown.field("username", &self.username).field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// The body of `POST /api/auth/refresh`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// That of the last answer.
    pub refresh_token: String,
}

/// The body of `POST /api/auth/logout`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LogoutRequest {
    /// End all logins of the caller, and not only this one.
    #[serde(default)]
    pub everywhere: bool,
}

/// The keys that tokens are signed with; their ids are no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeysView {
    /// Signs.
    pub key_id: String,
    /// Is still good for what it has signed.
    pub previous_key_id: Option<String>,
}

/// The authority that signs the certificates of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuthorityView {
    /// The SHA-256 of its certificate, as `sha256:<64 hex digits>`.
    pub fingerprint: String,
    /// When it stops to be good.
    pub expires_at: WallTime,
    /// The fingerprint of the one before it, where certificates that it has signed are still good.
    pub retired: Option<String>,
}

/// The answer to `GET /api/auth/me`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MeView {
    /// Who the token stands for.
    pub username: UserName,
    /// What they may do.
    pub role: Role,
}

/// The body of `POST /api/auth/register`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The name to have.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))]
    pub username: String,
    /// At least 12 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 12, max_length = 1024))]
    pub password: String,
    /// What an admin made for this name; needed where the policy is `invite`.
    #[serde(default)]
    pub invite: Option<String>,
}

/// The body of `POST /api/auth/password`: another password for whoever asks.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// The present one.
    pub old_password: String,
    /// At least 12 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 12, max_length = 1024))]
    pub new_password: String,
}

/// The body of `POST /api/users`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateUserRequest {
    /// Name.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))]
    pub username: String,
    /// At least 12 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 12, max_length = 1024))]
    pub password: String,
    /// What they may do; `user` if it is left out.
    #[serde(default)]
    pub role: Option<Role>,
}

/// The body of `PATCH /api/users/{name}`: what is not named stays.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UpdateUserRequest {
    /// What they may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether nobody gets in with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// At least 12 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 12, max_length = 1024))]
    pub password: Option<String>,
}

/// The body of `POST /api/users/invites`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// The name that can be registered with it, once.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))]
    pub username: String,
    /// What they may do then; `user` if it is left out.
    #[serde(default)]
    pub role: Option<Role>,
    /// How long it is good, in seconds; 7 days if it is left out, at most 30.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2592000))]
    pub ttl_seconds: Option<u64>,
}

/// The answer to an invitation.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InviteView {
    /// For `POST /api/auth/register`.
    pub invite: String,
    /// The name that it is for.
    pub username: UserName,
    /// What they may do then.
    pub role: Role,
    /// When it stops to be good.
    pub expires_at: WallTime,
}

impl std::fmt::Debug for InviteView {
    /// Without what lets somebody in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InviteView").field("username", &self.username).field("role", &self.role).finish_non_exhaustive()
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserView {
    /// Its name.
    pub username: UserName,
    /// What it may do.
    pub role: Role,
    /// Whether nobody gets in with it.
    pub disabled: bool,
    /// When it was made.
    pub created_at: WallTime,
}

/// The answer to `GET /api/users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserListView {
    /// By name.
    pub users: Vec<UserView>,
}

/// The body of `POST /api/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateTokenRequest {
    /// What it is for; up to 128 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub name: String,
    /// The most that it may do; what the account may do if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// How long it is good, in seconds; 90 days if it is left out, at most 366.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 31622400))]
    pub ttl_seconds: Option<u64>,
}

/// A personal token, without what lets somebody in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenView {
    /// Names it.
    pub token_id: TokenId,
    /// What it is for.
    pub name: String,
    /// Whose it is.
    pub username: UserName,
    /// The most that it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: WallTime,
    /// When it stops to work.
    pub expires_at: WallTime,
    /// When it was used last, to the minute; none: never.
    pub used_at: Option<WallTime>,
}

/// The answer to `POST /api/tokens`: the only time that the token itself is shown.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewTokenView {
    /// For `Authorization: Bearer`.
    pub token: String,
    /// All else there is to know of it.
    #[serde(flatten)]
    pub view: TokenView,
}

impl std::fmt::Debug for NewTokenView {
    /// Without what lets somebody in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewTokenView").field("view", &self.view).finish_non_exhaustive()
    }
}

/// The answer to `GET /api/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenListView {
    /// By user and age.
    pub tokens: Vec<TokenView>,
}
