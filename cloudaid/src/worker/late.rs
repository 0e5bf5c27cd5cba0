//! An engine that gave no answer when the worker started. Until it does the worker is there and takes nothing new; then it
//! takes up what it finds, and says hello anew with all of it.

use std::sync::Arc;

use shared::id::ClusterId;
use tokio::sync::{mpsc, watch};

use super::data_dir::DataDir;
use super::doctor;
use super::driver::Event;
use super::engine::{self, Survey};
use super::gpu::Gpus;
use super::health::FirstAnswer;
use super::link::Offer;
use crate::config::WorkerConfig;
use crate::runtime::Runtime;

/// Everybody who waits for it.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) data: Arc<DataDir>,
    pub(super) cluster: ClusterId,
    pub(super) config: WorkerConfig,
    pub(super) gpus: Gpus,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) offer: watch::Sender<Offer>,
    pub(super) first_answer: watch::Sender<FirstAnswer>,
}

impl Late {
    /// Asks until it is there, and tells them.
    pub(super) async fn arrives(self) {
        let ask = || Survey::take(&*self.runtime, self.cluster, self.data.name());
        let Survey { info, found } = engine::at_last(ask).await;
        // First: the next hello has to tell of them.
        let _ = self.events.send(Event::Surveyed(found)).await;
        self.offer.send_modify(|offer| offer.measure_again(&self.config, &info, &self.gpus));
        drop(self.first_answer.send_replace(Ok(info)));
        doctor::warn(&*self.runtime).await;
    }
}
