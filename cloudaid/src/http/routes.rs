//! The list that paths are entered into: none gets in without saying who may call it.

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use shared::error::{ApiError, ErrorCode};
use shared::role::Role;

use super::Shared;
use super::authenticate::authenticate;
use super::error::Failure;
use crate::master::auth::Via;

/// Who may call a path. Whose things the caller gets to see there is decided by [`may_see`](crate::master::auth::may_see).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// Everybody, with or without a token.
    Public,
    /// Whoever has an account.
    Look,
    /// Whoever has an account that may change things.
    Change,
    /// Admins.
    Administer,
}

impl Right {
    /// The least role that has it; none: no account is needed.
    pub(super) fn least_role(self) -> Option<Role> {
        match self {
            Self::Public => None,
            Self::Look => Some(Role::ReadOnly),
            Self::Change => Some(Role::User),
            Self::Administer => Some(Role::Admin),
        }
    }
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) right: Right,
}

/// The paths, and what is known of each.
pub(super) struct Routes {
    state: Shared,
    router: Router<Shared>,
    listed: Vec<Listed>,
}

impl Routes {
    pub(super) fn new(state: Shared) -> Self {
        Self { state, router: Router::new(), listed: Vec::new() }
    }

    pub(super) fn get<H: Handler<T, Shared>, T: 'static>(self, path: &'static str, right: Right, handler: H) -> Self {
        self.add(Method::GET, MethodFilter::GET, path, right, handler)
    }

    pub(super) fn post<H: Handler<T, Shared>, T: 'static>(self, path: &'static str, right: Right, handler: H) -> Self {
        self.add(Method::POST, MethodFilter::POST, path, right, handler)
    }

    pub(super) fn patch<H: Handler<T, Shared>, T: 'static>(self, path: &'static str, right: Right, handler: H) -> Self {
        self.add(Method::PATCH, MethodFilter::PATCH, path, right, handler)
    }

    pub(super) fn delete<H: Handler<T, Shared>, T: 'static>(
        self,
        path: &'static str,
        right: Right,
        handler: H,
    ) -> Self {
        self.add(Method::DELETE, MethodFilter::DELETE, path, right, handler)
    }

    /// A WebSocket: GET with an upgrade, or CONNECT over HTTP/2.
    pub(super) fn socket<H: Handler<T, Shared>, T: 'static>(
        self,
        path: &'static str,
        right: Right,
        handler: H,
    ) -> Self {
        self.add(Method::GET, MethodFilter::GET.or(MethodFilter::CONNECT), path, right, handler)
    }

    fn add<H: Handler<T, Shared>, T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        right: Right,
        handler: H,
    ) -> Self {
        let gate = from_fn_with_state((self.state.clone(), right), authorize);
        self.router = self.router.route(path, on(filter, handler).route_layer(gate));
        self.listed.push(Listed { method, path, right });
        self
    }

    /// What it comes to.
    pub(super) fn finish(self) -> (Router<Shared>, Vec<Listed>) {
        (self.router, self.listed)
    }
}

/// Lets the request through with the [`Principal`](crate::master::auth::Principal) in it, or refuses it.
async fn authorize(
    State((state, right)): State<(Shared, Right)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    if let Some(least) = right.least_role() {
        let principal = authenticate(&state, request.headers())?;
        if principal.role < least {
            let who = match principal.via {
                Via::Login(_) | Via::Browser(_) => principal.user.as_str(),
                Via::Token(_) => "the token",
            };
            let message = format!("this needs the role {least}, and {who} is {}", principal.role);
            return Err(ApiError::new(ErrorCode::PermissionDenied, message, "ask an admin").into());
        }
        request.extensions_mut().insert(principal);
    }
    Ok(next.run(request).await)
}
