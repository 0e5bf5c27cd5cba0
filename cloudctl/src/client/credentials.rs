//! The token of a client, renewed before it runs out: a call may last longer than its token.

use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use shared::context::file::{load, update};
use shared::context::{Context, ContextFile};
use shared::time::WallTime;
use shared::view::LoginView;

use crate::clock;
use crate::context::{self, Target};
use crate::exit::CtlError;

/// When a token could not be renewed: before the next try.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest sleep at once: the clock may be set, and the machine may sleep.
const LONGEST: Duration = Duration::from_secs(60);

/// A token, and where it is of.
pub(super) struct Credentials {
    state: Mutex<State>,
    /// One renewal at a time.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct State {
    token: Option<String>,
    header: Option<HeaderValue>,
    renewal: Option<Renewal>,
}

/// What is to be renewed, and from when on.
#[derive(Clone)]
struct Renewal {
    context: String,
    at: WallTime,
}

impl Credentials {
    pub(super) fn new(target: &Target) -> Result<Self, CtlError> {
        let header = target.token.as_deref().map(bearer).transpose()?;
        let renewal = target.context.clone().zip(target.refresh_at).map(|(context, at)| Renewal { context, at });
        let state = Mutex::new(State { token: target.token.clone(), header, renewal });
        Ok(Self { state, renewing: tokio::sync::Mutex::default() })
    }

    /// For the header `Authorization`.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.state.lock().header.clone()
    }

    /// How long until it is time to renew; none: it is never.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let at = self.state.lock().renewal.as_ref()?.at;
        let left = at.0.saturating_sub(clock::wall().0);
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(LONGEST))
    }

    /// Renews the token if it is time, by asking for a fresh one with `ask`. If none can be had, the old one may still
    /// do; if not, the request itself says so.
    pub(super) async fn renew<F: Future<Output = Result<LoginView, CtlError>>>(
        &self,
        ask: impl FnOnce(HeaderValue) -> F,
    ) {
        if self.due_in().is_none_or(|left| !left.is_zero()) {
            return;
        }
        let _only = self.renewing.lock().await;
        let before = self.state.lock().clone();
        let (Some(Renewal { context, at }), Some(header)) = (before.renewal, before.header) else { return };
        if at > clock::wall() {
            return;
        }
        let fresh = match ask(header).await {
            Ok(login) => keep(&context, before.token.as_deref(), login).ok(),
            // Another call may have been faster.
            Err(_) => known(&context).ok().flatten().filter(|known| known.token != before.token),
        };
        let mut state = self.state.lock();
        match fresh.and_then(|fresh| Some((bearer(fresh.token.as_deref()?).ok()?, fresh))) {
            Some((header, fresh)) => {
                let renewal = fresh.refresh_at.map(|at| Renewal { context, at });
                *state = State { token: fresh.token, header: Some(header), renewal };
            }
            None => {
                let pause = i64::try_from(PAUSE.as_millis()).unwrap_or_default();
                state.renewal = Some(Renewal { context, at: WallTime(clock::wall().0 + pause) });
            }
        }
    }
}

/// Puts a fresh token into the file, unless somebody has logged in there as somebody else in the meantime.
fn keep(name: &str, before: Option<&str>, login: LoginView) -> Result<Context, CtlError> {
    update(&context::path()?, |file: &mut ContextFile| {
        let known = file.contexts.get(name);
        let server = known.map(|known| known.server.clone()).unwrap_or_default();
        let is_same = known.is_some_and(|known| known.token.as_deref() == before);
        let fresh = context::of_login(server, login);
        if is_same {
            file.upsert(name, fresh.clone());
        }
        Ok::<_, CtlError>(fresh)
    })
}

fn known(name: &str) -> Result<Option<Context>, CtlError> {
    Ok(load(&context::path()?)?.contexts.remove(name))
}

fn bearer(token: &str) -> Result<HeaderValue, CtlError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| {
        CtlError::usage("the token contains characters that no token has", "copy it again, or run `cloudctl login`")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::parse_server;

    fn target(refresh_at: Option<WallTime>) -> Target {
        let server = parse_server("http://h").expect("a server");
        Target { context: Some("no such context".into()), refresh_at, ..Target::new(server, Some("t".into())) }
    }

    #[test]
    fn a_token_cannot_smuggle_a_header() {
        assert!(bearer("a\r\nX: y").is_err());
        assert!(bearer(" abc\n").is_ok_and(|value| value.is_sensitive()));
    }

    #[tokio::test]
    async fn it_is_asked_for_when_it_is_time_and_not_again_at_once() {
        let asked = std::cell::Cell::new(0);
        let ask = |_| {
            asked.set(asked.get() + 1);
            async { Err(CtlError::Declined) }
        };
        let early = Credentials::new(&target(Some(WallTime(clock::wall().0 + 60_000)))).expect("credentials");
        early.renew(ask).await;
        let never = Credentials::new(&target(None)).expect("credentials");
        never.renew(ask).await;
        assert_eq!((asked.get(), never.due_in()), (0, None));
        let due = Credentials::new(&target(Some(WallTime(0)))).expect("credentials");
        assert_eq!(due.due_in(), Some(Duration::ZERO));
        due.renew(ask).await;
        due.renew(ask).await;
        assert_eq!(asked.get(), 1);
        assert!(due.header().is_some(), "the old one may still do");
    }
}
