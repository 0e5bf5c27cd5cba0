//! How many WebSockets a user has open.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use shared::error::{ApiError, ErrorCode};
use shared::id::UserName;
use shared::role::Role;

use super::Shared;
use super::authenticate::Guest;
use super::counted::{Counted, Share};
use super::error::Failure;
use super::extract::Caller;
use super::socket::Admitted;
use crate::master::auth::Principal;

/// Of one user; admins are bound only by what there is in all.
const PER_USER: usize = 1_000;

/// Who has how many.
#[derive(Debug, Clone, Default)]
pub struct Sockets {
    open: Counted<UserName>,
}

/// One of them.
pub(super) type Seat = Share<UserName>;

impl Sockets {
    fn take(&self, principal: &Principal) -> Result<Seat, ApiError> {
        let most = if principal.role == Role::Admin { usize::MAX } else { PER_USER };
        self.open.take(&principal.user, most).ok_or_else(|| {
            let message = format!("{} has {PER_USER} WebSockets open already", principal.user);
            ApiError::new(ErrorCode::ResourceExhausted, message, "close some")
        })
    }

    /// All of them.
    pub(super) fn count(&self) -> usize {
        self.open.total()
    }
}

impl FromRequestParts<Shared> for Admitted {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Failure> {
        let Caller(principal) = Caller::from_request_parts(parts, state).await?;
        let seat = state.sockets.take(&principal)?;
        Ok(Self::new(Guest::new(principal), seat, parts))
    }
}

#[cfg(test)]
mod tests {
    use shared::id::LoginId;

    use super::*;
    use crate::master::auth::Via;

    #[test]
    fn a_user_has_so_many_and_each_that_closes_makes_room() {
        let sockets = Sockets::default();
        let principal = |name: &str, role| {
            let via = Via::Login(LoginId(7u128.into()));
            Principal { user: name.parse().expect("a name"), role, via }
        };
        let (ann, admin) = (principal("ann", Role::User), principal("admin", Role::Admin));
        let mut seats: Vec<_> = (0..PER_USER).map(|_| sockets.take(&ann).expect("a seat")).collect();
        assert_eq!(sockets.take(&ann).expect_err("one too many").code, ErrorCode::ResourceExhausted);
        let others: Vec<_> = (0..PER_USER + 1).map(|_| sockets.take(&admin).expect("a seat")).collect();
        seats.pop();
        let last = sockets.take(&ann).expect("a seat");
        assert_eq!(sockets.count(), 2 * PER_USER + 1);
        drop((seats, others, last));
        assert_eq!(sockets.count(), 0);
    }
}
