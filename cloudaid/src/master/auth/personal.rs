//! Personal tokens: for scripts, with a name, an end, and no more rights than they need.
//!
//! `cloudai_<id>_<secret>`: the id finds the record, the secret is 256 random bits of which only a digest is kept. They
//! outlive a change of the password; an account that is disabled, or may do less, takes them along.

use std::time::Duration;

use cloudaid_core::account::{TokenChange, TokenRecord};
use shared::error::{ApiError, ErrorCode};
use shared::id::TokenId;
use shared::time::WallTime;
use shared::view::{CreateTokenRequest, NewTokenView, TokenView};
use ulid::Ulid;

use super::{Auth, Principal, Via, constant_time_eq, may_see};
use crate::clock;
use crate::master::call::Call;

/// What they begin with, so that scanners find them where they should not be.
const PREFIX: &str = "cloudai_";
/// The longest name, in bytes.
const NAME_LIMIT: usize = 128;
/// How long one is good if nobody says.
const TTL: Duration = Duration::from_secs(90 * 24 * 3600);
/// The longest that one can be good.
const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Uses are noted this far apart: each note is a commit.
const NOTED: Duration = Duration::from_secs(60);

impl Auth {
    /// Makes a token for the caller.
    ///
    /// # Errors
    /// A bad name, time or role, or too many.
    pub async fn create_token(
        &self,
        caller: &Principal,
        request: CreateTokenRequest,
    ) -> Result<NewTokenView, ApiError> {
        let refuse = |message: String, hint: &str| ApiError::new(ErrorCode::InvalidArgument, message, hint);
        let name = request.name.trim().to_owned();
        if name.is_empty() || name.len() > NAME_LIMIT || name.contains(char::is_control) {
            return Err(refuse(format!("name: must have 1 to {NAME_LIMIT} bytes"), "say what the token is for"));
        }
        let ttl = request.ttl_seconds.map_or(TTL, Duration::from_secs);
        if ttl.is_zero() || ttl > TTL_MAX {
            let message = format!("ttl_seconds: must be 1 to {}", TTL_MAX.as_secs());
            return Err(refuse(message, "leave it out for 90 days"));
        }
        let role = request.role.unwrap_or(caller.role);
        if role > caller.role {
            let message = format!("role: {role} is more than {} may do, who is {}", caller.user, caller.role);
            return Err(ApiError::new(ErrorCode::PermissionDenied, message, "leave it out for all that you may do"));
        }
        let id = TokenId(Ulid::generate());
        Call::about(&id.to_string());
        let secret: [u8; 32] = rand::random();
        let created_at = clock::wall();
        let record = TokenRecord {
            id,
            user: caller.user.clone(),
            name,
            digest: blake3::hash(&secret).into(),
            role,
            created_at,
            expires_at: created_at + ttl,
            used_at: None,
        };
        let (token, view) = (format!("{PREFIX}{}_{}", record.id, hex::encode(secret)), record.view());
        self.inner.cluster.change_token(TokenChange::Create(record)).await?;
        Ok(NewTokenView { token, view })
    }

    /// The tokens that the caller may see.
    #[must_use]
    pub fn tokens(&self, caller: &Principal) -> Vec<TokenView> {
        let tokens = self.inner.cluster.accounts().tokens();
        tokens.iter().filter(|token| may_see(caller, &token.user)).map(TokenRecord::view).collect()
    }

    /// Ends a token.
    ///
    /// # Errors
    /// There is none of this id that the caller may see.
    pub async fn revoke_token(&self, caller: &Principal, id: TokenId) -> Result<(), ApiError> {
        let known = self.inner.cluster.accounts().find_token(id).filter(|token| may_see(caller, &token.user));
        if known.is_none() {
            let message = format!("there is no token {id}");
            return Err(ApiError::new(ErrorCode::NotFound, message, "`cloudctl tokens list` lists the tokens"));
        }
        self.inner.cluster.change_token(TokenChange::Revoke(id)).await
    }

    /// Who stands behind a personal token; none: it is of another kind.
    pub(super) fn verify_personal(&self, bearer: &str) -> Option<Result<Principal, ApiError>> {
        let (id, secret) = bearer.strip_prefix(PREFIX)?.split_once('_')?;
        Some(self.find_personal(id, secret).ok_or_else(|| {
            let message = "the token is not valid here, has ended, or was revoked";
            ApiError::new(ErrorCode::Unauthenticated, message, "make another one: `cloudctl tokens create`")
        }))
    }

    fn find_personal(&self, id: &str, secret: &str) -> Option<Principal> {
        let token = self.inner.cluster.accounts().find_token(id.parse().ok()?)?;
        let secret: [u8; 32] = hex::decode(secret).ok()?.try_into().ok()?;
        if !constant_time_eq(blake3::hash(&secret).as_bytes(), &token.digest) {
            return None;
        }
        let principal = self.of_token(token.id)?;
        let at = clock::wall();
        if token.used_at.is_none_or(|noted| noted + NOTED <= at) {
            self.note_use(token.id, at);
        }
        Some(principal)
    }

    /// Who stands behind a personal token that is good.
    pub(super) fn of_token(&self, id: TokenId) -> Option<Principal> {
        let accounts = self.inner.cluster.accounts();
        let token = accounts.find_token(id).filter(|token| clock::wall() < token.expires_at)?;
        let user = accounts.find(&token.user).filter(|user| !user.disabled)?;
        Some(Principal { user: user.name, role: token.role.min(user.role), via: Via::Token(id) })
    }

    /// Nobody waits for it: a note that is lost is a minute in a list.
    fn note_use(&self, id: TokenId, at: WallTime) {
        let cluster = self.inner.cluster.clone();
        tokio::spawn(async move {
            if let Err(error) = cluster.change_token(TokenChange::Used(id, at)).await {
                tracing::debug!(%id, error = %error.message, "the use of a token could not be noted");
            }
        });
    }
}
