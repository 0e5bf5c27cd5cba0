//! Comparing the books with what is there, now, and mending what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cloudaid_core::Cluster;
use cloudaid_core::effect::{Answer, Inquired};
use cloudaid_core::event::Findings;
use cloudaid_core::input::Input;
use cloudaid_core::invariant;
use shared::error::ApiError;
use shared::id::{AttemptKey, WorkerId};
use shared::view::{RepairStatus, RepairView, RunView, WorkerRepairView};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::{ClusterHandle, internal, unreadable};
use crate::master::repairs::Reconciled;

/// How long workers may take to answer; an engine that is busy takes its time to list its containers.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long containers of no run may take to stop: their grace, and what an engine needs.
const REMOVAL: Duration = Duration::from_secs(20);
/// Between two looks at whether they are gone.
const PAUSE: Duration = Duration::from_millis(200);
/// How often memory and store are compared before a difference between them is believed: both change all the time.
const COMPARISONS: u32 = 3;

impl ClusterHandle {
    /// Asks every connected worker what it holds and what its engine has, settles each difference, and compares the store
    /// with the memory of the master. Returns when containers of no run are gone and runs without a container have ended,
    /// or after 20 s.
    ///
    /// # Errors
    /// The master is stopping, or the store cannot be read.
    pub async fn fix_resources(&self) -> Result<RepairView, ApiError> {
        let Compared { inquired, found } = self.inquire().await?;
        let orphans: BTreeSet<_> = found.values().flat_map(|findings| findings.orphans.iter().copied()).collect();
        let deadline = Instant::now() + REMOVAL;
        let mut going = orphans.clone();
        while !going.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(PAUSE).await;
            let again = self.inquire().await?.found;
            let leaving = again.into_values().flat_map(|findings| findings.leaving);
            going = leaving.filter(|key| orphans.contains(key)).collect();
        }
        let lost: Vec<_> = found.values().flat_map(|findings| findings.lost.iter().copied()).collect();
        while lost.iter().any(|key| self.shell.live.contains(*key)) && Instant::now() < deadline {
            tokio::time::sleep(PAUSE).await;
        }
        let mut workers = workers(&inquired, found);
        for worker in &mut workers {
            let is_going = |run: &&RunView| going.iter().any(|key| key.element().to_string() == run.element_id);
            let left = worker.orphans.iter().filter(is_going).count();
            if left > 0 {
                worker.problem = Some(format!("{left} containers are still being stopped"));
            }
        }
        let (live_attempts, differences) = self.compare_store().await?;
        let repaired = workers.iter().map(WorkerRepairView::repaired).sum();
        Ok(RepairView { workers, live_attempts, differences, repaired })
    }

    /// One comparison with all workers.
    async fn inquire(&self) -> Result<Compared, ApiError> {
        let mut answers = self.shell.repairs.subscribe();
        let Answer::Inquired(inquired) = self.ask(|request| Input::FixResources { request }).await? else {
            return Err(internal("an inquiry got another's answer"));
        };
        let deadline = Instant::now() + PATIENCE;
        let mut found: BTreeMap<WorkerId, Findings> = BTreeMap::new();
        while !inquired.asked.iter().all(|worker| found.contains_key(worker)) {
            match timeout_at(deadline, answers.recv()).await {
                Ok(Ok(Reconciled { worker, horizon, findings })) if horizon >= inquired.horizon => {
                    found.insert(worker, findings);
                }
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
                Ok(Err(RecvError::Closed)) | Err(_) => break,
            }
        }
        Ok(Compared { inquired, found })
    }

    /// Live runs that both know, and in what they differ.
    async fn compare_store(&self) -> Result<(u64, Vec<String>), ApiError> {
        let runs = |cluster: &Cluster| -> BTreeSet<(AttemptKey, WorkerId)> {
            cluster.live_runs().map(|(key, worker)| (key, worker.clone())).collect()
        };
        let mut differences = Vec::new();
        let mut both = 0;
        for _ in 0..COMPARISONS {
            let before = self.read(runs).await?;
            let (snapshot, _) = self.store.load().await.map_err(|error| unreadable(&error))?;
            let after = self.read(runs).await?;
            let stored: BTreeSet<_> = snapshot.attempts.into_iter().map(|run| (run.key, run.worker)).collect();
            let only_here = before.intersection(&after).filter(|run| !stored.contains(run));
            let only_stored = stored.iter().filter(|run| !before.contains(run) && !after.contains(run));
            differences = only_here
                .map(|(key, worker)| format!("{key} is live on {worker}, and the store does not have it as live"))
                .chain(
                    only_stored.map(|(key, worker)| format!("the store has {key} as live on {worker}, and it is not")),
                )
                .collect();
            both = stored.intersection(&after).count() as u64;
            if differences.is_empty() {
                break;
            }
        }
        differences.extend(self.read(|cluster| invariant::check(cluster).err()).await?);
        Ok((both, differences))
    }
}

/// What workers answered.
struct Compared {
    inquired: Inquired,
    found: BTreeMap<WorkerId, Findings>,
}

fn workers(inquired: &Inquired, mut found: BTreeMap<WorkerId, Findings>) -> Vec<WorkerRepairView> {
    let silent = "it has not answered; its runs are settled when it does, or when its lease is over";
    let absent = "it is not connected; its runs are settled when it comes back";
    let asked = inquired.asked.iter().map(|worker| match found.remove(worker) {
        Some(findings) => view(worker.clone(), findings),
        None => WorkerRepairView::without(worker.clone(), RepairStatus::Silent, silent),
    });
    let mut all: Vec<_> = asked.collect();
    let absent = inquired
        .absent
        .iter()
        .map(|worker| WorkerRepairView::without(worker.clone(), RepairStatus::Disconnected, absent));
    all.extend(absent);
    all.sort_by(|a, b| a.worker_id.cmp(&b.worker_id));
    all
}

fn view(worker_id: WorkerId, findings: Findings) -> WorkerRepairView {
    let runs = |keys: Vec<AttemptKey>| {
        keys.into_iter().map(|key| RunView { element_id: key.element().to_string(), attempt: key.attempt }).collect()
    };
    let failed = findings.problem.is_some();
    WorkerRepairView {
        worker_id,
        status: if failed { RepairStatus::EngineFailed } else { RepairStatus::Checked },
        live_attempts: findings.live as u64,
        containers: u64::from(findings.containers),
        orphans: runs(findings.orphans),
        missing: runs(findings.lost),
        adopted: runs(findings.adopted),
        sent_again: runs(findings.sent_again),
        problem: findings.problem,
    }
}
