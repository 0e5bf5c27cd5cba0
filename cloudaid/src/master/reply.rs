//! Who waits for which answer. The core knows requests by number; the channels stay here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use cloudaid_core::effect::Answer;
use parking_lot::Mutex;
use shared::error::ApiError;
use shared::id::RequestId;
use tokio::sync::oneshot;

/// The callers that wait.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    next: AtomicU64,
    waiting: Mutex<HashMap<RequestId, oneshot::Sender<Result<Answer, ApiError>>>>,
}

impl Replies {
    /// A new request, and where its answer will arrive.
    pub(crate) fn open(&self) -> (RequestId, oneshot::Receiver<Result<Answer, ApiError>>) {
        let (sender, receiver) = oneshot::channel();
        let request = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        self.waiting.lock().insert(request, sender);
        (request, receiver)
    }

    /// Answers. A caller that has gone away is no error.
    pub(crate) fn answer(&self, request: RequestId, answer: Result<Answer, ApiError>) {
        let waiting = self.waiting.lock().remove(&request);
        if let Some(waiting) = waiting {
            // Nobody waits any more: what was asked for is done and durable all the same.
            let _gone = waiting.send(answer);
        }
    }
}
