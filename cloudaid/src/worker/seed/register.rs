//! Being known to the master: registering, and heartbeats from then on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shared::proto::seed::{Heartbeat, WorkerInfo};
use shared::resources::Resources;
use shared::text::printable;
use shared::worker::Usage;
use sysinfo::{MemoryRefreshKind, System};
use tokio::time::{MissedTickBehavior, timeout};
use tonic::Status;

use super::desk::{Desk, HEARTBEAT};
use super::master::Master;
use super::task;
use crate::pause::Pauses;
use crate::worker::capacity;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Before a master that said no is asked again: most often a person has to do something first.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// Registers with each master that there is, and keeps it informed until the next one comes. Never returns.
pub(super) async fn keep(desk: Arc<Desk>, data_dir: PathBuf) {
    let (mut masters, mut capacity) = (desk.watch_master(), desk.watch_capacity());
    let total_memory = total_memory();
    loop {
        let Some(master) = masters.borrow_and_update().clone() else {
            // The desk is there as long as this is.
            let _ = masters.changed().await;
            continue;
        };
        let Some(offered) = capacity.wait_for(Option::is_some).await.ok().and_then(|offered| *offered) else { return };
        let known = async {
            register(&desk, &master, offered).await;
            beat(&desk, &master, |usage| percent(usage, total_memory, &data_dir)).await;
        };
        tokio::select! {
            () = known => {}
            _ = masters.changed() => masters.mark_changed(),
        }
    }
}

/// Returns when the master has said yes.
async fn register(desk: &Desk, master: &Master, offered: Resources) {
    let (total_cpu, total_memory, total_storage, total_gpu) = task::totals(offered);
    // Without an address: the master keeps the one under which it found us.
    let (worker_id, worker_ip) = (desk.name().to_string(), String::new());
    let info = WorkerInfo { worker_id, worker_ip, total_cpu, total_memory, total_storage, total_gpu };
    let mut pauses = Pauses::default();
    loop {
        let asked = timeout(ANSWER_LIMIT, async {
            Ok::<_, Status>(master.connect().await?.register_worker(info.clone()).await?.into_inner())
        });
        let pause = match asked.await {
            Ok(Ok(ack)) if ack.success => {
                tracing::info!("Worker registration: {} accepted by master at {}", info.worker_id, master.address);
                desk.admit();
                return;
            }
            Ok(Ok(ack)) => {
                let reason = shown(&ack.message);
                tracing::error!("Worker registration refused by master at {}: {reason}", master.address);
                REFUSED_PAUSE
            }
            Ok(Err(status)) => unreachable_for(&mut pauses, master, status.message()),
            Err(_) => unreachable_for(&mut pauses, master, "no answer"),
        };
        tokio::time::sleep(pause).await;
    }
}

fn unreachable_for(pauses: &mut Pauses, master: &Master, reason: &str) -> Duration {
    let pause = pauses.next();
    tracing::warn!("Worker is not registered at {}: {}; trying again in {pause:.1?}", master.address, shown(reason));
    pause
}

/// Returns when the master does not know us any more.
async fn beat(desk: &Desk, master: &Master, percent: impl Fn(Usage) -> Percent) {
    let mut beats = tokio::time::interval(HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reached = true;
    loop {
        beats.tick().await;
        let Percent { cpu, memory, storage, gpu } = percent(desk.usage());
        let heartbeat = Heartbeat {
            worker_id: desk.name().to_string(),
            cpu_usage: cpu,
            memory_usage: memory,
            storage_usage: storage,
            running_tasks: desk.running(),
            gpu_usage: gpu,
        };
        let sent = timeout(ANSWER_LIMIT, async {
            Ok::<_, Status>(master.connect().await?.send_heartbeat(heartbeat).await?.into_inner().success)
        });
        let problem = match sent.await {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) => {
                tracing::warn!("The master at {} does not know this worker any more", master.address);
                tokio::time::sleep(HEARTBEAT).await;
                return;
            }
            Ok(Err(status)) => Some(shown(status.message())),
            Err(_) => Some("no answer".to_owned()),
        };
        match (&problem, reached) {
            (Some(reason), true) => {
                tracing::warn!("Heartbeats do not reach the master at {}: {reason}; containers go on", master.address);
            }
            (None, false) => tracing::info!("The master at {} is there again", master.address),
            (Some(_), false) | (None, true) => {}
        }
        reached = problem.is_none();
    }
}

/// How busy the machine is, in percent of all that it has.
#[derive(Debug, PartialEq)]
struct Percent {
    cpu: f64,
    memory: f64,
    storage: f64,
    gpu: f64,
}

fn percent(usage: Usage, total_memory: u64, data_dir: &Path) -> Percent {
    let storage = capacity::disk(data_dir).map_or(0, |disk| disk.used_bytes + disk.free_bytes);
    Percent {
        cpu: usage.cpu_percent,
        memory: share(usage.memory_used_bytes, total_memory),
        storage: share(usage.storage_used_bytes, storage),
        gpu: usage.gpu_percent,
    }
}

fn share(used: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { (used as f64 / total as f64 * 100.0).min(100.0) }
}

/// 0 where the system does not tell.
fn total_memory() -> u64 {
    System::new().map_or(0, |mut system| {
        system.refresh_memory_specifics(MemoryRefreshKind::everything());
        system.total_memory()
    })
}

fn shown(text: &str) -> String {
    printable(&text.chars().take(500).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_a_share_of_the_machine() {
        let scratch = tempfile::tempdir().expect("a directory");
        let usage = Usage { cpu_percent: 12.5, memory_used_bytes: 1, storage_used_bytes: u64::MAX, ..Usage::default() };
        let expected = Percent { cpu: 12.5, memory: 25.0, storage: 100.0, gpu: 0.0 };
        assert_eq!(percent(usage, 4, scratch.path()), expected);
        assert_eq!(share(1, 0), 0.0);
    }
}
