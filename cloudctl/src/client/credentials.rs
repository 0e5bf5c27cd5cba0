//! The token of a client, renewed before it runs out: a call may last longer than its token.

use std::path::Path;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use shared::context::file::{load, turn_to_renew, update};
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

    /// Renews the token if it is time, by asking for a fresh one with `ask`, which gets the token that renews. If none can
    /// be had, the old one may still do; if not, the request itself says so.
    pub(super) async fn renew<F: Future<Output = Result<LoginView, CtlError>>>(&self, ask: impl FnOnce(String) -> F) {
        if self.due_in().is_none_or(|left| !left.is_zero()) {
            return;
        }
        let _only = self.renewing.lock().await;
        let before = self.state.lock().clone();
        let Some(Renewal { context, at }) = before.renewal else { return };
        if at > clock::wall() {
            return;
        }
        let fresh = match context::path() {
            Ok(path) => renew_kept(&path, &context, before.token.as_deref(), ask).await.ok().flatten(),
            Err(_) => None,
        };
        let mut state = self.state.lock();
        match fresh.and_then(|fresh| Some((bearer(fresh.token.as_deref()?).ok()?, fresh))) {
            Some((header, fresh)) => {
                let renewal = fresh.refresh_at.map(|at| Renewal { context, at });
                *state = State { token: fresh.token, header: Some(header), renewal };
            }
            None => {
                state.renewal = Some(Renewal { context, at: clock::wall() + PAUSE });
            }
        }
    }
}

/// What is in the file once it is fresh: another program may have been faster, and then there is nothing to ask for. None:
/// nothing there can be renewed.
async fn renew_kept<F: Future<Output = Result<LoginView, CtlError>>>(
    path: &Path,
    name: &str,
    before: Option<&str>,
    ask: impl FnOnce(String) -> F,
) -> Result<Option<Context>, CtlError> {
    // A token that renews is good once: without a place to keep the next one, it is better not to use it.
    let turn = tokio::task::spawn_blocking({
        let path = path.to_owned();
        move || turn_to_renew(&path)
    });
    let _turn = turn.await.map_err(std::io::Error::from).map_err(CtlError::local("cannot wait for a lock"))??;
    let Some(known) = load(path)?.contexts.remove(name) else { return Ok(None) };
    let is_fresh = known.refresh_at.is_some_and(|at| at > clock::wall());
    if known.token.is_some() && known.token.as_deref() != before && is_fresh {
        return Ok(Some(known));
    }
    let Some(refresh_token) = known.refresh_token.clone() else { return Ok(None) };
    let fresh = context::of_login(known.server.clone(), ask(refresh_token).await?).trusted_as(&known);
    update(path, |file: &mut ContextFile| {
        // Unless somebody has logged in there as somebody else in the meantime.
        if file.contexts.get(name).is_some_and(|now| now.token == known.token) {
            file.upsert(name, fresh.clone());
        }
        Ok::<_, CtlError>(Some(fresh))
    })
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
    use crate::trust::Trust;

    fn target(refresh_at: Option<WallTime>) -> Target {
        let server = parse_server("http://h").expect("a server");
        Target {
            context: Some("no such context".into()),
            refresh_at,
            ..Target::new(server, Trust::System, Some("t".into()))
        }
    }

    #[test]
    fn a_token_cannot_smuggle_a_header() {
        assert!(bearer("a\r\nX: y").is_err());
        assert!(bearer(" abc\n").is_ok_and(|value| value.is_sensitive()));
    }

    #[tokio::test]
    async fn it_is_asked_for_when_it_is_time_and_not_again_at_once() {
        let asked = std::cell::Cell::new(0);
        let ask = |_: String| {
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
        assert!(due.due_in().is_some_and(|left| !left.is_zero()), "there is nothing to renew: not again at once");
        assert!(due.header().is_some(), "the old one may still do");
        assert_eq!(asked.get(), 0);
    }

    fn login(number: u32, good_for: i64) -> LoginView {
        LoginView {
            token: format!("token {number}"),
            expires_at: WallTime(clock::wall().0 + good_for),
            refresh_token: format!("refresh {number}"),
            username: "ann".parse().expect("a name"),
        }
    }

    #[tokio::test]
    async fn of_two_who_share_a_login_one_asks_and_both_have_what_came() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("contexts.toml");
        let keep = |login: LoginView| {
            update(&path, |file| {
                let fingerprint = Some("sha256:00".to_owned());
                file.upsert("here", Context { fingerprint, ..context::of_login("http://h", login) });
                Ok::<_, CtlError>(())
            })
        };
        keep(login(1, 0)).expect("kept");
        let shown = std::cell::RefCell::new(Vec::new());
        let ask = |refresh_token: String| {
            shown.borrow_mut().push(refresh_token);
            async {
                tokio::task::yield_now().await;
                Ok(login(2, 60_000))
            }
        };
        let renew = || renew_kept(&path, "here", Some("token 1"), ask);
        let (one, other) = tokio::join!(renew(), renew());
        let (one, other) = (one.expect("renewed").expect("known"), other.expect("renewed").expect("known"));
        assert_eq!((one.token.as_deref(), &one), (Some("token 2"), &other));
        assert_eq!(*shown.borrow(), ["refresh 1"], "a token that renews is good once");
        assert_eq!(load(&path).expect("kept").contexts["here"], one);
        assert_eq!(one.fingerprint.as_deref(), Some("sha256:00"), "a fresh token is no reason to trust anybody else");
        // Who was out for long finds one that has run out too, and asks with what belongs to it.
        keep(login(3, 0)).expect("kept");
        renew().await.expect("renewed");
        assert_eq!(*shown.borrow(), ["refresh 1", "refresh 3"]);
    }
}
