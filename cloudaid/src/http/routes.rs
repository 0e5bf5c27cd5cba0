//! The list that paths are entered into: none gets in without saying who may call it.

use std::net::{IpAddr, Ipv4Addr};

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use cloudaid_core::audit::{AuditNote, Outcome};
use shared::error::{ApiError, ErrorCode};
use shared::role::Role;

use super::Shared;
use super::authenticate::authenticate;
use super::describe::Doc;
use super::error::Failure;
use super::extract::BodyLimit;
use super::peer::Peer;
use super::trace::RequestId;
use crate::connections::Stranger;
use crate::master::auth::{Principal, Via, network};
use crate::master::call::Call;

/// Of a part of a path, this much is noted.
const OBJECT_LIMIT: usize = 200;

/// The largest body that is read of somebody who has yet to prove who they are, in bytes.
const STRANGERS_BODY: usize = 16 * 1024;

/// Who may call a path. Whose things the caller gets to see there is decided by [`may_see`](crate::master::auth::may_see).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Everybody, with or without a token.
    Public,
    /// Whoever has an account.
    Look,
    /// Whoever has an account and has logged in: nothing for the personal token of a script, which may have been stolen.
    Own,
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
            Self::Look | Self::Own => Some(Role::ReadOnly),
            Self::Change => Some(Role::User),
            Self::Administer => Some(Role::Admin),
        }
    }
}

/// A line of the list.
#[derive(Clone)]
pub(super) struct Listed {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) right: Right,
    /// None: it is no part of the specification.
    pub(super) doc: Option<Doc>,
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

    pub(super) fn get<H: Handler<T, Shared>, T: 'static>(
        self,
        path: &'static str,
        right: Right,
        handler: H,
        doc: Doc,
    ) -> Self {
        self.add(MethodFilter::GET, listed(Method::GET, path, right, Some(doc)), Kind::Look, handler)
    }

    pub(super) fn post<H: Handler<T, Shared>, T: 'static>(
        self,
        path: &'static str,
        right: Right,
        handler: H,
        doc: Doc,
    ) -> Self {
        self.add(MethodFilter::POST, listed(Method::POST, path, right, Some(doc)), Kind::Change, handler)
    }

    pub(super) fn patch<H: Handler<T, Shared>, T: 'static>(
        self,
        path: &'static str,
        right: Right,
        handler: H,
        doc: Doc,
    ) -> Self {
        self.add(MethodFilter::PATCH, listed(Method::PATCH, path, right, Some(doc)), Kind::Change, handler)
    }

    pub(super) fn delete<H: Handler<T, Shared>, T: 'static>(
        self,
        path: &'static str,
        right: Right,
        handler: H,
        doc: Doc,
    ) -> Self {
        self.add(MethodFilter::DELETE, listed(Method::DELETE, path, right, Some(doc)), Kind::Change, handler)
    }

    /// A question that may take a while to answer: POST, but nothing changes.
    pub(super) fn wait<H: Handler<T, Shared>, T: 'static>(
        self,
        path: &'static str,
        right: Right,
        handler: H,
        doc: Doc,
    ) -> Self {
        self.add(MethodFilter::POST, listed(Method::POST, path, right, Some(doc)), Kind::Wait, handler)
    }

    /// A page for people.
    pub(super) fn page<H: Handler<T, Shared>, T: 'static>(self, path: &'static str, right: Right, handler: H) -> Self {
        self.add(MethodFilter::GET, listed(Method::GET, path, right, None), Kind::Look, handler)
    }

    /// A WebSocket: GET with an upgrade, or CONNECT over HTTP/2.
    pub(super) fn socket<H: Handler<T, Shared>, T: 'static>(
        self,
        path: &'static str,
        right: Right,
        handler: H,
    ) -> Self {
        let filter = MethodFilter::GET.or(MethodFilter::CONNECT);
        self.add(filter, listed(Method::GET, path, right, None), Kind::Look, handler)
    }

    fn add<H: Handler<T, Shared>, T: 'static>(
        mut self,
        filter: MethodFilter,
        listed: Listed,
        kind: Kind,
        handler: H,
    ) -> Self {
        let gate = Gate { path: listed.path, right: listed.right, kind };
        let layer = from_fn_with_state((self.state.clone(), gate), pass);
        self.router = self.router.route(listed.path, on(filter, handler).route_layer(layer));
        self.listed.push(listed);
        self
    }

    /// What it comes to.
    pub(super) fn finish(self) -> (Router<Shared>, Vec<Listed>) {
        (self.router, self.listed)
    }
}

fn listed(method: Method, path: &'static str, right: Right, doc: Option<Doc>) -> Listed {
    Listed { method, path, right, doc }
}

/// What stands before a path.
#[derive(Debug, Clone, Copy)]
struct Gate {
    path: &'static str,
    right: Right,
    kind: Kind,
}

/// What calls of a path do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing changes by them.
    Look,
    /// Nothing changes, and the answer may take long.
    Wait,
    /// They are noted in the audit log.
    Change,
}

/// Lets the request through with the [`Principal`] in it, or refuses it. What changes something is noted, and so is that
/// somebody may not do what they asked for.
async fn pass(
    State((state, gate)): State<(Shared, Gate)>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let authenticated = gate.right.least_role().map(|_| authenticate(&state, request.headers())).transpose();
    let principal = authenticated.as_ref().ok().cloned().flatten();
    let network =
        network(request.extensions().get::<Peer>().map_or_else(|| Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0));
    // Until the answer begins. What strangers may look at takes next to nothing.
    let _room = match &principal {
        Some(principal) => Some(state.load.admit(gate.kind == Kind::Wait, principal)?),
        None if gate.kind == Kind::Change => Some(state.load.admit_stranger(network)?),
        None => None,
    };
    if let Some(principal) = &principal {
        state.load.check(principal)?;
        if let Some(stranger) = request.extensions().get::<Stranger>() {
            stranger.is_known();
        }
    }
    let call = Call::new(note(&gate, params.ok().as_ref(), &request, principal.as_ref()), gate.kind == Kind::Change);
    let allowed = authenticated.and_then(|principal| match principal {
        Some(principal) => authorize(&principal, gate.right),
        // A token that is not looked at proves nothing.
        None => state.site.admit_stranger(request.method(), request.uri(), request.headers()),
    });
    let response = match allowed {
        Err(error) => Failure::from(error).into_response(),
        Ok(()) => {
            match &principal {
                Some(principal) => drop(request.extensions_mut().insert(principal.clone())),
                None => drop(request.extensions_mut().insert(BodyLimit(STRANGERS_BODY))),
            }
            call.scope(next.run(request)).await
        }
    };
    let stranger = principal.is_none().then_some(network);
    let mut response = keep_note(&state, &call, response, stranger).await;
    // For the access log.
    if let Some(principal) = principal {
        response.extensions_mut().insert(principal);
    }
    Ok(response)
}

pub(crate) fn authorize(principal: &Principal, right: Right) -> Result<(), ApiError> {
    if right == Right::Own && matches!(principal.via, Via::Token(_)) {
        let message = "a personal token cannot do this";
        return Err(ApiError::new(ErrorCode::PermissionDenied, message, "log in: `cloudctl login`"));
    }
    let Some(least) = right.least_role().filter(|least| principal.role < *least) else { return Ok(()) };
    let who = match principal.via {
        Via::Login(_) | Via::Browser(_) => principal.user.as_str(),
        Via::Token(_) => "the token",
    };
    let message = format!("this needs the role {least}, and {who} is {}", principal.role);
    Err(ApiError::new(ErrorCode::PermissionDenied, message, "ask an admin"))
}

fn note(gate: &Gate, params: Option<&RawPathParams>, request: &Request, principal: Option<&Principal>) -> AuditNote {
    // What is not UTF-8 is refused by the handler, which needs it.
    let params = params.into_iter().flatten();
    let object: Vec<_> = params.map(|(_, value)| value.chars().take(OBJECT_LIMIT).collect::<String>()).collect();
    let extensions = request.extensions();
    AuditNote {
        user: principal.map(|principal| principal.user.clone()),
        via: principal.map_or_else(|| "none".to_owned(), |principal| principal.via.to_string()),
        address: extensions.get::<Peer>().map(|peer| peer.0.to_canonical()),
        request_id: extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default(),
        action: format!("{} {}", request.method(), gate.path),
        object: object.join("/"),
        outcome: None,
    }
}

/// Notes what was not noted with a change. A success is not told before that is durable; nobody waits for a refusal. Of
/// `stranger`s only what they may not do is noted, and so much of it.
async fn keep_note(state: &Shared, call: &Call, response: Response, stranger: Option<IpAddr>) -> Response {
    let is_denied = matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let is_worth_it = match stranger {
        _ if response.status().is_success() => call.is_to_be_noted(),
        None => is_denied && !call.changes() || call.is_to_be_noted(),
        Some(network) => is_denied && call.is_to_be_noted() && state.load.is_noted(network),
    };
    if !is_worth_it {
        return response;
    }
    if response.status().is_success() {
        return match state.cluster.note(call.ended(Outcome::Done)).await {
            Ok(()) => response,
            Err(error) => Failure::from(error).into_response(),
        };
    }
    let code = response.extensions().get::<ErrorCode>().copied().unwrap_or(ErrorCode::InvalidArgument);
    let (cluster, note) = (state.cluster.clone(), call.ended(Outcome::Refused(code)));
    tokio::spawn(async move {
        if let Err(error) = cluster.note(note).await {
            tracing::debug!(error = %error.message, "a refused call could not be noted");
        }
    });
    response
}
