//! What this machine can give to tasks.

use std::io;
use std::path::Path;

use shared::resources::{Kind, Resources};
use sysinfo::{MemoryRefreshKind, System};

use super::gpu::Gpus;
use crate::config::CapacityOverrides;
use crate::runtime::RuntimeInfo;

/// Measures the machine, keeps to what the engine says it has, if it does, and then does as the settings say.
pub(super) fn measure(
    info: Option<&RuntimeInfo>,
    gpus: &Gpus,
    overrides: CapacityOverrides,
    data_dir: &Path,
) -> Resources {
    let machine = machine(data_dir);
    let measured = gpus.in_addition_to(info.map_or(machine, |info| within_engine(machine, info)));
    let capacity = gpus.in_addition_to(overridden(measured, overrides));
    for shortage in measured.lacking(capacity) {
        tracing::warn!(
            "This worker offers {} but the machine has {}: tasks will share what there is",
            shortage.kind.describe(shortage.wanted),
            shortage.kind.describe(shortage.available),
        );
    }
    let offered: Vec<_> = Kind::ALL.into_iter().map(|kind| kind.describe(kind.of(&capacity))).collect();
    tracing::info!("Worker offers {}", offered.join(", "));
    capacity
}

/// What is not known counts as nothing: nobody places a task on what may not be there.
fn machine(data_dir: &Path) -> Resources {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let memory_bytes = System::new().map_or(0, |mut system| {
        system.refresh_memory_specifics(MemoryRefreshKind::everything());
        system.total_memory()
    });
    let storage_bytes = disk(data_dir).map_or_else(
        |error| {
            tracing::warn!(%error, "The free space of the data directory is not known; set it with --storage");
            0
        },
        |disk| disk.free_bytes,
    );
    Resources { cpu_millis: cpus * 1000, memory_bytes, storage_bytes, gpu_millis: 0 }
}

fn within_engine(machine: Resources, info: &RuntimeInfo) -> Resources {
    Resources {
        cpu_millis: machine.cpu_millis.min(info.cpu_millis),
        memory_bytes: machine.memory_bytes.min(info.memory_bytes),
        ..machine
    }
}

fn overridden(measured: Resources, overrides: CapacityOverrides) -> Resources {
    Resources {
        cpu_millis: overrides.cpu_millis.unwrap_or(measured.cpu_millis),
        memory_bytes: overrides.memory_bytes.unwrap_or(measured.memory_bytes),
        storage_bytes: overrides.storage_bytes.unwrap_or(measured.storage_bytes),
        gpu_millis: overrides.gpu_millis.unwrap_or(measured.gpu_millis),
    }
}

/// The disk of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    /// In use.
    pub(super) used_bytes: u64,
    /// To be had without being root.
    pub(super) free_bytes: u64,
    /// Files and folders that may still be made without being root; none: the file system does not count them.
    pub(super) free_files: Option<u64>,
}

pub(super) fn disk(path: &Path) -> io::Result<Disk> {
    let stat = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Disk {
        used_bytes: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        free_bytes: bytes(stat.f_bavail),
        free_files: (stat.f_files > 0).then_some(stat.f_favail),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Resources = Resources { cpu_millis: 8000, memory_bytes: 1000, storage_bytes: 100, gpu_millis: 0 };

    #[test]
    fn an_engine_with_less_than_the_machine_is_believed() {
        let info = RuntimeInfo { description: String::new(), cpu_millis: 2000, memory_bytes: 5000, root: None };
        assert_eq!(within_engine(MACHINE, &info), Resources { cpu_millis: 2000, ..MACHINE });
    }

    #[test]
    fn settings_win_even_above_what_there_is() {
        let overrides = CapacityOverrides { cpu_millis: Some(64_000), gpu_millis: Some(1), ..Default::default() };
        let expected = Resources { cpu_millis: 64_000, gpu_millis: 1, ..MACHINE };
        assert_eq!(overridden(MACHINE, overrides), expected);
    }

    #[test]
    fn this_machine_has_something_of_each() {
        let scratch = tempfile::tempdir().expect("a directory");
        let machine = machine(scratch.path());
        assert!(
            machine.cpu_millis >= 1000 && machine.memory_bytes > 1 << 20 && machine.storage_bytes > 0,
            "{machine:?}"
        );
    }
}
