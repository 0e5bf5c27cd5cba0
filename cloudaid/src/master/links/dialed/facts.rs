//! What a worker of the first generation says of itself, in our units.

use shared::proto::seed::{Heartbeat, WorkerInfo};
use shared::resources::{InvalidQuantity, Quantity, Resources};
use shared::worker::{Usage, WorkerFacts};

/// What it has. Amounts that are none are refused, and so is a machine without a processor or memory.
pub(crate) fn capacity_of(info: &WorkerInfo) -> Result<Resources, InvalidQuantity> {
    let something = |field: &str, number: f64| {
        // Zero is refused as what is negative.
        Quantity::Number(if number == 0.0 { -0.0 } else { number }).to_millis(field).map(|_| Quantity::Number(number))
    };
    Ok(Resources {
        cpu_millis: something("total_cpu", info.total_cpu)?.to_millis("total_cpu")?,
        memory_bytes: something("total_memory", info.total_memory)?.to_bytes("total_memory")?,
        storage_bytes: Quantity::Number(info.total_storage).to_bytes("total_storage")?,
        gpu_millis: Quantity::Number(info.total_gpu).to_millis("total_gpu")?,
    })
}

/// What is shown of it.
pub(super) fn facts_of(address: String, capacity: Resources) -> WorkerFacts {
    WorkerFacts { address, version: "first generation".to_owned(), capacity, ..WorkerFacts::default() }
}

/// What it has measured. Of a percentage that is none nothing is believed.
pub(super) fn usage_of(heartbeat: &Heartbeat, capacity: Resources) -> Usage {
    let part = |percent: f64, of: u64| (of as f64 * percent_of(percent) / 100.0) as u64;
    Usage {
        cpu_percent: percent_of(heartbeat.cpu_usage),
        memory_used_bytes: part(heartbeat.memory_usage, capacity.memory_bytes),
        storage_used_bytes: part(heartbeat.storage_usage, capacity.storage_bytes),
        gpu_percent: percent_of(heartbeat.gpu_usage),
        running: u32::try_from(heartbeat.running_tasks.len()).unwrap_or(u32::MAX),
    }
}

fn percent_of(number: f64) -> f64 {
    if number.is_finite() { number.clamp(0.0, 100.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use shared::resources::GIB;

    use super::*;

    fn info(change: impl FnOnce(&mut WorkerInfo)) -> Result<Resources, InvalidQuantity> {
        let mut info = WorkerInfo {
            total_cpu: 4.0,
            total_memory: 8.0,
            total_storage: 100.0,
            total_gpu: 1.0,
            ..WorkerInfo::default()
        };
        change(&mut info);
        capacity_of(&info)
    }

    #[test]
    fn totals_are_cores_and_gib() {
        let capacity =
            Resources { cpu_millis: 4000, memory_bytes: 8 * GIB, storage_bytes: 100 * GIB, gpu_millis: 1000 };
        assert_eq!(info(|_| {}), Ok(capacity));
        assert_eq!(info(|info| info.total_gpu = 0.0), Ok(Resources { gpu_millis: 0, ..capacity }));
    }

    #[test]
    fn machines_that_cannot_be_are_refused() {
        for bad in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e12] {
            assert!(info(|info| info.total_cpu = bad).is_err(), "{bad}");
            assert!(info(|info| info.total_memory = bad).is_err(), "{bad}");
        }
        for bad in [f64::NAN, f64::NEG_INFINITY, -0.5, 1e12] {
            assert!(info(|info| info.total_storage = bad).is_err(), "{bad}");
            assert!(info(|info| info.total_gpu = bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percentages_become_bytes() {
        let capacity = Resources { memory_bytes: 8 * GIB, storage_bytes: 100 * GIB, ..Resources::default() };
        let heartbeat = Heartbeat {
            cpu_usage: 250.0,
            memory_usage: 25.0,
            storage_usage: f64::NAN,
            gpu_usage: -3.0,
            ..Heartbeat::default()
        };
        let usage = usage_of(&heartbeat, capacity);
        assert_eq!((usage.cpu_percent, usage.gpu_percent), (100.0, 0.0));
        assert_eq!((usage.memory_used_bytes, usage.storage_used_bytes), (2 * GIB, 0));
    }
}
