//! How busy this machine is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::worker::Usage;
use sysinfo::{MemoryRefreshKind, System};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::capacity;

/// As often as heartbeats, so that none brings old values.
const EVERY: Duration = Duration::from_secs(5);

/// Measures now and again, on a thread where a slow disk delays nothing.
pub(super) fn watch_usage(
    data_dir: &Path,
    gpu_percent: watch::Receiver<f64>,
    life: CancellationToken,
) -> watch::Receiver<Usage> {
    let (sender, receiver) = watch::channel(Usage::default());
    let mut sampler = Sampler { system: System::new().ok(), data_dir: data_dir.to_owned(), gpu_percent };
    tokio::spawn(life.run_until_cancelled_owned(async move {
        loop {
            let sampled = tokio::task::spawn_blocking(move || {
                let usage = sampler.sample();
                (sampler, usage)
            });
            let Ok((back, usage)) = sampled.await else { return };
            sampler = back;
            sender.send_replace(usage);
            tokio::time::sleep(EVERY).await;
        }
    }));
    receiver
}

#[derive(Debug)]
struct Sampler {
    /// None where the system does not tell.
    system: Option<System>,
    data_dir: PathBuf,
    gpu_percent: watch::Receiver<f64>,
}

impl Sampler {
    /// CPU is the average since the sample before; the first one is 0.
    fn sample(&mut self) -> Usage {
        let (cpu_percent, memory_used_bytes) = self.system.as_mut().map_or((0.0, 0), |system| {
            system.refresh_cpu_usage();
            system.refresh_memory_specifics(MemoryRefreshKind::everything());
            (f64::from(system.global_cpu_usage()), system.used_memory())
        });
        Usage {
            cpu_percent: if cpu_percent.is_finite() { cpu_percent.clamp(0.0, 100.0) } else { 0.0 },
            memory_used_bytes,
            storage_used_bytes: capacity::disk(&self.data_dir).map_or(0, |disk| disk.used_bytes),
            gpu_percent: *self.gpu_percent.borrow(),
            running: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_uses_some_of_what_it_has() {
        let scratch = tempfile::tempdir().expect("a directory");
        let (_sender, gpu_percent) = watch::channel(12.5);
        let mut sampler = Sampler { system: System::new().ok(), data_dir: scratch.path().to_owned(), gpu_percent };
        let usage = sampler.sample();
        assert!(usage.memory_used_bytes > 0 && usage.storage_used_bytes > 0, "{usage:?}");
        assert!((usage.gpu_percent - 12.5).abs() < f64::EPSILON, "{usage:?}");
        assert!((0.0..=100.0).contains(&usage.cpu_percent), "{usage:?}");
    }
}
