//! Everything that the core wants done. Plain data: it can be compared, printed and kept.

use std::net::SocketAddr;

use shared::id::{Fence, RequestId, SessionId, WorkerId};
use shared::link::ToWorker;
use shared::view::{CancelView, SubmitView};

use crate::admission::Identity;
use crate::event::Event;
use crate::record::Change;
use crate::reject::Reject;

/// One thing to do. All [`Effect::Save`]s of a batch are committed before anything else of it is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Make this durable.
    Save(Change),
    /// Send this to a worker. If the connection is gone it is dropped: the next one begins with an inventory.
    Send(SessionId, ToWorker),
    /// Close a connection and say why.
    Close(SessionId, Reject),
    /// Answer a caller.
    Reply(RequestId, Result<Answer, Reject>),
    /// Tell whoever listens: log, metrics, live streams.
    Publish(Event),
}

/// Which workers were asked. Each of them answers with an [`Event::WorkerReconciled`] of this horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquired {
    /// The newest fence that was given out.
    pub horizon: Fence,
    /// Who is asked.
    pub asked: Vec<WorkerId>,
    /// Who is not connected.
    pub absent: Vec<WorkerId>,
}

/// What a caller gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The submission is durable.
    Submitted(SubmitView),
    /// The wish to cancel is durable.
    Cancelled(CancelView),
    /// Workers were asked what they hold.
    Inquired(Inquired),
    /// A worker has joined.
    Joined(Identity),
    /// A worker of the first generation belongs to the cluster; it is dialled here.
    Admitted(SocketAddr),
    /// A worker waits until an admin lets it in.
    Waits,
    /// It is done; there is nothing to say.
    Done,
}
