//! A body of any size, from somebody who keeps sending.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::StreamExt;
use shared::error::{ApiError, ErrorCode};
use tokio::time::{Instant, timeout};

use super::error::invalid;

/// At least this many bytes come while so long is waited for them.
const LEAST: usize = 30 * 1024;
const WAIT: Duration = Duration::from_secs(30);

/// A body as it comes. Time that we take ourselves is not held against the client.
#[derive(Debug)]
pub(super) struct Steady {
    body: BodyDataStream,
    wait: Duration,
    /// Since the last time that enough had come.
    waited: Duration,
    taken: usize,
}

impl Steady {
    pub(super) fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), wait: WAIT, waited: Duration::ZERO, taken: 0 }
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// The connection broke, or too little comes.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let began = Instant::now();
        let next = timeout(self.wait.saturating_sub(self.waited), self.body.next()).await;
        self.waited += began.elapsed();
        match next {
            Ok(None) => Ok(None),
            Ok(Some(Ok(data))) => {
                self.taken += data.len();
                if self.taken >= LEAST {
                    (self.taken, self.waited) = (0, Duration::ZERO);
                }
                Ok(Some(data))
            }
            Ok(Some(Err(_))) => Err(invalid("the body ended early", "send the rest")),
            Err(_) => {
                let message = format!("less than {} KiB came in {} s", LEAST / 1024, self.wait.as_secs());
                Err(ApiError::new(ErrorCode::Timeout, message, "what has arrived is kept: go on from there"))
            }
        }
    }
}

/// Of what was refused before all of it had come, so much is still taken, and for so long: a connection that is closed over
/// unread bytes is reset, and the reset overtakes the answer (RFC 9112, 9.6).
const DRAIN: (usize, Duration) = (64 << 20, Duration::from_secs(5));

impl Steady {
    /// Takes what is still on its way, so that the client gets to read why it was refused.
    pub(super) async fn drain(&mut self) {
        let taken = async {
            let mut taken = 0;
            while let Some(Ok(data)) = self.body.next().await {
                taken += data.len();
                if taken > DRAIN.0 {
                    return;
                }
            }
        };
        // Whoever sends more is cut off.
        let _ = timeout(DRAIN.1, taken).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn who_sends_too_little_is_given_up() {
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![0; LEAST]))]);
        let little = stream::iter([Ok(Bytes::from_static(b"x"))]);
        let body = Body::from_stream(first.chain(little).chain(stream::pending()));
        let mut body = Steady { wait: SHORT, ..Steady::new(body) };
        for size in [LEAST, 1] {
            assert_eq!(body.next().await.expect("in time").expect("data").len(), size);
        }
        assert_eq!(body.next().await.expect_err("nothing comes").code, ErrorCode::Timeout);
    }

    #[tokio::test]
    async fn time_that_we_take_ourselves_does_not_count() {
        let pieces = (0..5).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"x")));
        let mut body = Steady { wait: SHORT, ..Steady::new(Body::from_stream(stream::iter(pieces))) };
        let mut taken = 0;
        while body.next().await.expect("in time").is_some() {
            taken += 1;
            // As a disk that is busy.
            tokio::time::sleep(2 * SHORT).await;
        }
        assert_eq!(taken, 5);
    }
}
