//! What one seed has: how large its cluster is, which faults it has, and how often. A run with few kinds of faults goes
//! deeper into them than a run with all.

use rand::RngExt;
use rand::rngs::StdRng;

use super::between;
use super::schedule::Fault;

/// The parameters of one run. Times are in milliseconds, rates are chances per step.
#[derive(Debug, Clone)]
pub(crate) struct Swarm {
    /// Cores of each worker.
    pub(crate) workers: Vec<u64>,
    pub(crate) submissions: usize,
    pub(crate) cancels: usize,
    /// How long things go wrong.
    pub(crate) chaos: u64,
    /// The longest run of a container.
    pub(crate) longest_run: u64,
    /// The mean time between two faults of a kind; 0: never.
    pub(crate) means: [u64; Fault::ALL.len()],
    /// Per batch of the master.
    pub(crate) master_crash: f64,
    /// Per batch of the master.
    pub(crate) master_stall: f64,
    /// Per batch of a worker.
    pub(crate) worker_crash: f64,
    /// Per order.
    pub(crate) engine_failure: f64,
    /// Per message.
    pub(crate) duplicate: f64,
    /// Per message with reports.
    pub(crate) reorder: f64,
    /// Per message.
    pub(crate) slow: f64,
    /// Per upload.
    pub(crate) upload_lost: f64,
    /// The most inputs of one batch.
    pub(crate) batch: u64,
    /// How often the books are compared with what is there.
    pub(crate) inquiries: usize,
}

impl Swarm {
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let workers = (0..between(rng, 1, 4)).map(|_| between(rng, 4, 8)).collect();
        let chaos = between(rng, 60_000, 400_000);
        let mut means = [0; Fault::ALL.len()];
        for (fault, mean) in Fault::ALL.into_iter().zip(&mut means) {
            let rare = match fault {
                Fault::WorkerCrash | Fault::Cut | Fault::Vanish => 1,
                Fault::MasterCrash | Fault::Pause => 2,
                Fault::JournalLoss | Fault::Reboot => 3,
                Fault::Leave => 8,
            };
            if rng.random_bool(0.5) {
                *mean = between(rng, 10_000, 80_000) * rare;
            }
        }
        Self {
            workers,
            submissions: between(rng, 1, 14) as usize,
            cancels: if rng.random_bool(0.6) { between(rng, 1, 12) as usize } else { 0 },
            chaos,
            longest_run: between(rng, 500, 120_000),
            means,
            master_crash: rate(rng, 0.03),
            master_stall: rate(rng, 0.01),
            worker_crash: rate(rng, 0.03),
            engine_failure: rate(rng, 0.2),
            duplicate: rate(rng, 0.3),
            reorder: rate(rng, 0.2),
            slow: rate(rng, 0.1),
            upload_lost: rate(rng, 0.3),
            batch: between(rng, 1, 16),
            inquiries: if rng.random_bool(0.5) { between(rng, 1, 20) as usize } else { 0 },
        }
    }
}

/// Zero in half of the runs.
fn rate(rng: &mut StdRng, most: f64) -> f64 {
    if rng.random_bool(0.5) { 0.0 } else { rng.random_range(0.0..most) }
}
