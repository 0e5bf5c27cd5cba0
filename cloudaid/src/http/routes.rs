//! The list that paths are entered into: none gets in without saying who may call it.

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use cloudaid_core::audit::{AuditNote, Outcome};
use shared::error::{ApiError, ErrorCode};
use shared::role::Role;

use super::Shared;
use super::authenticate::authenticate;
use super::connections::Stranger;
use super::describe::Doc;
use super::error::Failure;
use super::peer::Peer;
use super::trace::RequestId;
use crate::master::auth::{Principal, Via};
use crate::master::call::Call;

/// Of a part of a path, this much is noted.
const OBJECT_LIMIT: usize = 200;

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

/// Lets the request through with the [`Principal`] in it, or refuses it. What changes something is noted, and so is whoever
/// was known and refused.
async fn pass(
    State((state, gate)): State<(Shared, Gate)>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let principal = match gate.right.least_role() {
        Some(_) => Some(authenticate(&state, request.headers())?),
        None => None,
    };
    // Until the answer begins.
    let _room = state.load.admit(gate.kind == Kind::Wait)?;
    if let Some(principal) = &principal {
        state.load.check(principal)?;
        if let Some(stranger) = request.extensions().get::<Stranger>() {
            stranger.is_known();
        }
    }
    let call = Call::new(note(&gate, params.ok().as_ref(), &request, principal.as_ref()), gate.kind == Kind::Change);
    let response = match principal.as_ref().map_or(Ok(()), |principal| authorize(principal, gate.right)) {
        Err(error) => Failure::from(error).into_response(),
        Ok(()) => {
            if let Some(principal) = &principal {
                request.extensions_mut().insert(principal.clone());
            }
            call.scope(next.run(request)).await
        }
    };
    let mut response = keep_note(&state, &call, response).await;
    // For the access log.
    if let Some(principal) = principal {
        response.extensions_mut().insert(principal);
    }
    Ok(response)
}

fn authorize(principal: &Principal, right: Right) -> Result<(), ApiError> {
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

/// Notes what was not noted with a change. A success is not told before that is durable; nobody waits for a refusal.
async fn keep_note(state: &Shared, call: &Call, response: Response) -> Response {
    if call.is_noted() {
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
