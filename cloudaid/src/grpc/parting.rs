//! Calls that are open when the master stops: each has a moment to end by itself, and is then told why it ends.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::CancellationToken;

use super::{status, stopping};

/// For what is under way to be answered.
const MOMENT: Duration = Duration::from_secs(1);

/// Resolves when calls have had their time.
pub(super) async fn over(shutdown: CancellationToken) {
    over_after(MOMENT, shutdown).await;
}

async fn over_after(moment: Duration, shutdown: CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(moment).await;
}

/// An answer that ends when the master stops: some would go on as long as the client likes.
pub(super) struct Parting {
    /// None once all is said.
    body: Option<Body>,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Parting {
    pub(super) fn new(body: Body, shutdown: CancellationToken) -> Self {
        Self { body: Some(body), over: Box::pin(over(shutdown)) }
    }
}

impl HttpBody for Parting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        // First, or an answer that never pauses would never end. Between two frames is between two messages.
        if this.over.as_mut().poll(context).is_ready() {
            this.body = None;
            return Poll::Ready(Some(Ok(Frame::trailers(farewell()))));
        }
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        // Nothing comes after its end, or after a status.
        if frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers)) {
            this.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// The status of an answer that is broken off.
fn farewell() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // A text that cannot be a header would be left out; the code is there in any case.
    let _ = status(&stopping()).add_header(&mut trailers);
    trailers
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    fn parting(body: Body, shutdown: &CancellationToken) -> Parting {
        Parting { body: Some(body), over: Box::pin(over_after(Duration::from_millis(10), shutdown.clone())) }
    }

    async fn next(body: &mut Parting) -> Option<Frame<Bytes>> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let frame = tokio::time::timeout(Duration::from_secs(10), frame).await.expect("in time");
        frame.map(|frame| frame.expect("no error"))
    }

    #[tokio::test]
    async fn an_answer_that_would_go_on_ends_with_a_status_when_the_master_stops() {
        let shutdown = CancellationToken::new();
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"x"))]);
        let silent = Body::from_stream(first.chain(futures_util::stream::pending()));
        let busy =
            Body::from_stream(futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"x"))));
        for body in [silent, busy] {
            let shutdown = shutdown.child_token();
            let mut body = parting(body, &shutdown);
            assert!(next(&mut body).await.is_some_and(|frame| frame.is_data()));
            shutdown.cancel();
            let trailers = loop {
                let frame = next(&mut body).await.expect("a status comes before the end");
                match frame.into_trailers() {
                    Ok(trailers) => break trailers,
                    // Others have to have their turn too.
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            assert_eq!(trailers["grpc-status"], "14", "unavailable: the worker comes again");
            assert!(next(&mut body).await.is_none() && body.is_end_stream());
        }
    }

    #[tokio::test]
    async fn an_answer_that_has_ended_is_not_ended_again() {
        let shutdown = CancellationToken::new();
        let mut body = parting(Body::from("x"), &shutdown);
        assert!(next(&mut body).await.is_some_and(|frame| frame.is_data()));
        assert!(next(&mut body).await.is_none());
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), over_after(Duration::from_millis(20), shutdown))
            .await
            .expect("in time");
        assert!(next(&mut body).await.is_none(), "it had its end");
    }
}
