//! The one log stream of a session, shared by all runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use parking_lot::Mutex;
use shared::convert::attempt_key;
use shared::id::AttemptKey;
use shared::proto::{LogAck, LogFrame};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::worker::link::dial::{Uplink, describe_status};

/// Frames between the pumps and the network.
const FRAMES_LIMIT: usize = 16;

/// Finds the lane of the present session.
#[derive(Debug)]
pub(in crate::worker) struct Lanes {
    uplink: watch::Receiver<Option<Uplink>>,
    current: Mutex<Option<Arc<Lane>>>,
}

/// One stream to the master.
#[derive(Debug)]
pub(super) struct Lane {
    frames: mpsc::Sender<LogFrame>,
    routes: Mutex<BTreeMap<AttemptKey, mpsc::UnboundedSender<LogAck>>>,
    closed: CancellationToken,
}

/// The stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// The acknowledgements of one run, as many as it has sent frames.
#[derive(Debug)]
pub(super) struct Route {
    key: AttemptKey,
    lane: Arc<Lane>,
    acks: mpsc::UnboundedReceiver<LogAck>,
    takes_cuts: bool,
}

impl Lanes {
    pub(in crate::worker) fn new(uplink: watch::Receiver<Option<Uplink>>) -> Self {
        Self { uplink, current: Mutex::new(None) }
    }

    /// Waits for a session; none if the worker stops.
    pub(super) async fn open(&self) -> Option<Arc<Lane>> {
        let mut uplink = self.uplink.clone();
        let uplink = uplink.wait_for(Option::is_some).await.ok()?.clone()?;
        let mut current = self.current.lock();
        match &*current {
            Some(lane) if !lane.closed.is_cancelled() => Some(Arc::clone(lane)),
            Some(_) | None => Some(Arc::clone(current.insert(Lane::begin(uplink)))),
        }
    }
}

impl Lane {
    fn begin(mut uplink: Uplink) -> Arc<Self> {
        let (frames, outbound) = mpsc::channel(FRAMES_LIMIT);
        let closed = uplink.closed.child_token();
        let lane = Arc::new(Self { frames, routes: Mutex::default(), closed: closed.clone() });
        let task = Arc::clone(&lane);
        // Pumps keep the lane, and with it the sender, until there is another: that alone would hold the stream open.
        let outbound = ReceiverStream::new(outbound).take_until(closed.clone().cancelled_owned());
        tokio::spawn(async move {
            let carry = async {
                let mut acks = uplink.client.push_logs(outbound).await?.into_inner();
                while let Some(ack) = acks.message().await? {
                    task.deliver(ack);
                }
                Ok::<_, tonic::Status>(())
            };
            if let Some(Err(status)) = closed.run_until_cancelled(carry).await {
                tracing::warn!("The log stream broke off: {}; it is resumed", describe_status(&status));
            }
            closed.cancel();
            // Whoever waits for an acknowledgement learns that none will come.
            task.routes.lock().clear();
        });
        lane
    }

    fn deliver(&self, ack: LogAck) {
        // What is no attempt of ours is nobody's business.
        if let Ok(key) = attempt_key(ack.attempt.clone())
            && let Some(route) = self.routes.lock().get(&key)
        {
            let _ = route.send(ack);
        }
    }

    pub(super) fn register(self: &Arc<Self>, key: AttemptKey) -> Option<Route> {
        let (sender, acks) = mpsc::unbounded_channel();
        let mut routes = self.routes.lock();
        // Looked at under the lock: after the end the routes are cleared once, and never again.
        if self.closed.is_cancelled() {
            return None;
        }
        routes.insert(key, sender);
        Some(Route { key, lane: Arc::clone(self), acks, takes_cuts: false })
    }

    pub(super) async fn send(&self, frame: LogFrame) -> Result<(), Closed> {
        match self.closed.run_until_cancelled(self.frames.send(frame)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(Closed),
        }
    }
}

impl Route {
    /// None when the stream is over.
    pub(super) async fn next(&mut self) -> Option<LogAck> {
        let ack = self.acks.recv().await?;
        self.takes_cuts |= ack.takes_cuts;
        Some(ack)
    }

    /// Whether the master may be told what is lacking: it has said so with an acknowledgement. One of an earlier version takes
    /// that for a breach of the protocol.
    pub(super) fn takes_cuts(&self) -> bool {
        self.takes_cuts
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.lane.routes.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Lane {
        /// One that ends here, and what is sent on it.
        pub(in crate::worker::logs) fn loose() -> (Arc<Self>, mpsc::Receiver<LogFrame>) {
            let (frames, sent) = mpsc::channel(FRAMES_LIMIT);
            let closed = CancellationToken::new();
            (Arc::new(Self { frames, routes: Mutex::default(), closed }), sent)
        }

        /// What the master answers.
        pub(in crate::worker::logs) fn answer(&self, ack: LogAck) {
            self.deliver(ack);
        }
    }
}
