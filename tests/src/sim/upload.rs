//! The outputs of a run on their way to the master: a call of its own, repeated until it is answered.

use std::sync::Arc;

use cloudaid_core::agent::{AgentEffect, AgentInput};
use cloudaid_core::input::Input;
use cloudaid_core::reject::Reject;
use shared::id::AttemptKey;

use super::client::Asked;
use super::reach::Probe;
use super::schedule::Event;
use super::world::World;

/// After this time without an answer it is tried again.
const AGAIN: u64 = 10_000;

impl World {
    pub(crate) fn begin_upload(&mut self, worker: usize, key: AttemptKey) {
        let this = &mut self.workers[worker];
        if this.connected {
            this.uploading.insert(key);
            let life = this.life;
            self.schedule.after(0, Event::Upload { worker, life, key });
        } else {
            this.parked.push(AgentEffect::UploadOutputs(key));
        }
    }

    pub(crate) fn upload(&mut self, worker: usize, life: u32, key: AttemptKey) {
        let again = Event::Upload { worker, life, key };
        let this = &self.workers[worker];
        if this.life != life || !this.uploading.contains(&key) || self.defer(worker, life, again.clone()) {
            return;
        }
        self.schedule.after(AGAIN, again);
        let this = &self.workers[worker];
        let connected = this.connected && this.link.is_some_and(|link| !self.links[link].to_master_cut);
        if connected && self.master.cluster.is_some() {
            let id = this.id.clone();
            let request = self.ask(Asked::Upload { worker, life, key });
            self.tell_master(Input::FilesStored { request, worker: id, key, files: Arc::from([]), before: Vec::new() });
        }
    }

    pub(crate) fn upload_answered(&mut self, to: (usize, u32, AttemptKey), refused: Option<Reject>) {
        let (worker, life, key) = to;
        if self.goes_wrong(self.swarm.upload_lost) {
            self.hit(Probe::UploadAnswerLost);
            return;
        }
        let this = &mut self.workers[worker];
        let reaches = this.life == life && this.link.is_some_and(|link| !self.links[link].to_worker_cut);
        if !reaches || !this.uploading.remove(&key) {
            return;
        }
        let input = match refused {
            None => AgentInput::OutputsUploaded { key, files: 0, bytes: 0, notes: Vec::new() },
            Some(reject) => {
                self.hit(Probe::UploadRefused);
                AgentInput::UploadFailed(key, format!("{reject:?}"))
            }
        };
        let delay = self.between(1, 50);
        self.schedule.after(delay, Event::Answer { worker, life, input });
    }
}
