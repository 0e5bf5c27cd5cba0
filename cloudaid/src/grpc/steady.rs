//! A message that keeps coming: who stops in the middle of one must not hold the room that others wait for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A body that fails when nothing of it comes for a while.
pub(super) struct Steady {
    body: Body,
    patience: Duration,
    until: Pin<Box<Sleep>>,
}

impl Steady {
    pub(super) fn new(body: Body) -> Self {
        Self::with(body, PATIENCE)
    }

    fn with(body: Body, patience: Duration) -> Self {
        Self { body, patience, until: Box::pin(tokio::time::sleep(patience)) }
    }
}

impl HttpBody for Steady {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                let until = Instant::now() + self.patience;
                self.until.as_mut().reset(until);
                Poll::Ready(frame)
            }
            Poll::Pending => {
                if self.until.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                let late = io::Error::new(io::ErrorKind::TimedOut, "nothing came for a while");
                Poll::Ready(Some(Err(axum::Error::new(late))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn who_stops_is_not_waited_for_and_who_is_slow_is() {
        let pieces = |pause: Duration| {
            let stream = futures_util::stream::iter(0..3).then(move |_| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, io::Error>(Bytes::from_static(b"x"))
            });
            Body::new(Steady::with(Body::from_stream(Box::pin(stream)), Duration::from_millis(500)))
        };
        assert_eq!(axum::body::to_bytes(pieces(Duration::from_millis(5)), 10).await.expect("it comes").len(), 3);
        assert!(axum::body::to_bytes(pieces(Duration::from_secs(60)), 10).await.is_err());
    }
}
