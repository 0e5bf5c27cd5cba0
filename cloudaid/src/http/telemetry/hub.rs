//! Watches the workers for all who watch them: looks once, writes each frame once, and gives the same bytes to everybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::error::ApiError;
use shared::id::WorkerId;
use shared::view::WorkerView;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::master::handle::ClusterHandle;

/// No two looks are closer.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// Deltas that a slow client may be behind before it gets a snapshot instead.
const BEHIND: usize = 256;

/// One for all clients. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cluster: ClusterHandle,
    known: Mutex<Known>,
    deltas: broadcast::Sender<Arc<Delta>>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

/// What was seen last.
#[derive(Debug, Default)]
struct Known {
    sequence: u64,
    workers: BTreeMap<WorkerId, Seen>,
    /// Of all workers, until something changes.
    snapshot: Option<Arc<str>>,
}

#[derive(Debug)]
struct Seen {
    view: WorkerView,
    json: String,
}

/// What has changed, written once for everybody.
#[derive(Debug)]
pub(super) struct Delta {
    all: Arc<str>,
    of: BTreeMap<WorkerId, Arc<str>>,
}

impl Delta {
    /// For whoever watches that worker, or all of them. None: it has not changed.
    pub(super) fn frame(&self, worker: Option<&WorkerId>) -> Option<Arc<str>> {
        match worker {
            None => Some(self.all.clone()),
            Some(worker) => self.of.get(worker).cloned(),
        }
    }
}

impl Hub {
    /// Watches until `shutdown` is cancelled, while there is anybody to watch for.
    #[must_use]
    pub fn start(cluster: ClusterHandle, shutdown: CancellationToken) -> Self {
        let inner = Arc::new(Inner {
            cluster,
            known: Mutex::default(),
            deltas: broadcast::channel(BEHIND).0,
            looking: tokio::sync::Mutex::default(),
        });
        let hub = Self { inner };
        let watching = hub.clone();
        tokio::spawn(shutdown.run_until_cancelled_owned(async move { watching.watch().await }));
        hub
    }

    async fn watch(&self) {
        loop {
            self.inner.cluster.pulse().await;
            if self.inner.deltas.receiver_count() > 0 && self.look().await.is_err() {
                return;
            }
            tokio::time::sleep(AT_MOST_EVERY).await;
        }
    }

    /// The present snapshot, and what changes from there on; nothing is missed in between.
    pub(super) async fn subscribe(
        &self,
        worker: Option<&WorkerId>,
    ) -> Result<(Arc<str>, broadcast::Receiver<Arc<Delta>>), ApiError> {
        // While nobody watched nobody looked.
        if self.inner.deltas.receiver_count() == 0 {
            self.look().await?;
        }
        let mut known = self.inner.known.lock();
        Ok((known.snapshot_of(worker), self.inner.deltas.subscribe()))
    }

    /// Looks at the workers, and tells what has changed.
    async fn look(&self) -> Result<(), ApiError> {
        let _one = self.inner.looking.lock().await;
        let workers = self.inner.cluster.workers().await?.workers;
        let mut known = self.inner.known.lock();
        if let Some(delta) = known.update(workers) {
            // Nobody watches: the next one gets a snapshot.
            let _ = self.inner.deltas.send(Arc::new(delta));
        }
        Ok(())
    }
}

impl Known {
    /// Takes over what was seen. None: nothing has changed.
    fn update(&mut self, workers: Vec<WorkerView>) -> Option<Delta> {
        let mut changed = Vec::new();
        let mut gone: Vec<WorkerId> = self.workers.keys().cloned().collect();
        for view in workers {
            gone.retain(|id| *id != view.worker_id);
            if self.workers.get(&view.worker_id).is_some_and(|seen| seen.view == view) {
                continue;
            }
            let json = serde_json::to_string(&view).unwrap_or_default();
            changed.push(view.worker_id.clone());
            self.workers.insert(view.worker_id.clone(), Seen { view, json });
        }
        if changed.is_empty() && gone.is_empty() {
            return None;
        }
        self.sequence += 1;
        self.snapshot = None;
        let delta = |changed: &[WorkerId], gone: &[WorkerId]| {
            let removed = serde_json::to_string(gone).unwrap_or_default();
            let workers = self.json(changed.iter());
            format!(r#"{{"type":"delta","sequence":{},"workers":[{workers}],"removed":{removed}}}"#, self.sequence)
                .into()
        };
        let all = delta(&changed, &gone);
        let mut of: BTreeMap<_, _> =
            changed.iter().map(|id| (id.clone(), delta(std::slice::from_ref(id), &[]))).collect();
        of.extend(gone.iter().map(|id| (id.clone(), delta(&[], std::slice::from_ref(id)))));
        for id in &gone {
            self.workers.remove(id);
        }
        Some(Delta { all, of })
    }

    fn snapshot_of(&mut self, worker: Option<&WorkerId>) -> Arc<str> {
        let snapshot = |workers: String| -> Arc<str> {
            format!(r#"{{"type":"snapshot","sequence":{},"workers":[{workers}]}}"#, self.sequence).into()
        };
        match (worker, &self.snapshot) {
            (Some(worker), _) => snapshot(self.json(std::iter::once(worker))),
            (None, Some(known)) => known.clone(),
            (None, None) => {
                let made = snapshot(self.json(self.workers.keys()));
                self.snapshot = Some(made.clone());
                made
            }
        }
    }

    fn json<'a>(&self, workers: impl Iterator<Item = &'a WorkerId>) -> String {
        let found = workers.filter_map(|id| self.workers.get(id)).map(|seen| seen.json.as_str());
        found.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use shared::resources::Resources;
    use shared::time::WallTime;
    use shared::view::TelemetryFrame;
    use shared::worker::{WorkerProtocol, WorkerState};

    use super::*;

    fn worker(name: &str, heard: i64) -> WorkerView {
        WorkerView {
            worker_id: name.parse().expect("a name"),
            state: WorkerState::Active,
            protocol: WorkerProtocol::Session,
            address: "h".into(),
            version: "0.1.0".into(),
            capacity: Resources::TASK_DEFAULT,
            allocated: Resources::TASK_DEFAULT,
            usage: None,
            cordon: None,
            problem: None,
            running_tasks: vec![],
            last_heartbeat: Some(WallTime(heard)),
            registered_at: WallTime(0),
            labels: Default::default(),
            gpus: vec![],
            pulling: vec![],
        }
    }

    fn frame(text: &Arc<str>) -> TelemetryFrame {
        serde_json::from_str(text).expect("a frame")
    }

    #[test]
    fn snapshot_and_deltas_are_what_there_is() {
        let mut known = Known::default();
        assert_eq!(frame(&known.snapshot_of(None)), TelemetryFrame::Snapshot { sequence: 0, workers: vec![] });
        known.update(vec![worker("a", 1), worker("b", 1)]).expect("new");
        let workers = vec![worker("a", 1), worker("b", 1)];
        assert_eq!(frame(&known.snapshot_of(None)), TelemetryFrame::Snapshot { sequence: 1, workers });
        assert!(known.update(vec![worker("a", 1), worker("b", 1)]).is_none(), "nothing has changed");
        let delta = known.update(vec![worker("b", 2)]).expect("changed");
        let removed = vec!["a".parse().expect("a name")];
        let expected = TelemetryFrame::Delta { sequence: 2, workers: vec![worker("b", 2)], removed };
        assert_eq!(frame(&delta.frame(None).expect("for all")), expected);
        assert_eq!(
            frame(&known.snapshot_of(None)),
            TelemetryFrame::Snapshot { sequence: 2, workers: vec![worker("b", 2)] }
        );
    }

    #[test]
    fn whoever_watches_one_worker_hears_of_no_other() {
        let mut known = Known::default();
        let (a, b) = ("a".parse().expect("a name"), "b".parse().expect("a name"));
        known.update(vec![worker("a", 1), worker("b", 1)]);
        let only = TelemetryFrame::Snapshot { sequence: 1, workers: vec![worker("a", 1)] };
        assert_eq!(frame(&known.snapshot_of(Some(&a))), only);
        let delta = known.update(vec![worker("a", 1), worker("b", 2)]).expect("changed");
        assert_eq!(delta.frame(Some(&a)), None);
        let of_b = TelemetryFrame::Delta { sequence: 2, workers: vec![worker("b", 2)], removed: vec![] };
        assert_eq!(frame(&delta.frame(Some(&b)).expect("changed")), of_b);
    }
}
