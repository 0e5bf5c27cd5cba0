//! The whole cluster in one thread: the master's core and several workers' cores under a seed, in virtual time.
//!
//! Everything around the cores is made of events in one queue: a network that delays, duplicates and cuts, engines whose
//! answers fail or get lost, processes that die between any two steps, hosts that reboot, clients that retry. Each seed
//! draws which of these faults it has and how often. At some time all faults end, and everything must come to rest.
//!
//! What must hold stands in `sim/oracle`, one file each. Equal seeds give equal runs, so one number repeats a failure.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub use reach::{Probe, Reach};
pub use trace::Watch;

use world::World;

mod client;
mod deed;
mod engine;
mod fault;
mod master;
mod network;
mod oracle;
mod process;
mod reach;
mod schedule;
mod script;
mod swarm;
mod trace;
mod upload;
mod world;

/// A run in which everything held.
#[derive(Debug)]
pub struct Passed {
    /// Of all inputs and effects; 0 if they were not watched.
    pub hash: u64,
    /// What happened how often.
    pub reach: Reach,
    /// Events.
    pub events: u64,
}

/// A run in which something did not hold.
#[derive(Debug)]
pub struct Failed {
    /// Repeats it.
    pub seed: u64,
    /// What did not hold.
    pub broken: String,
    /// What happened last, if it was watched.
    pub lines: Vec<String>,
}

/// Runs one seed.
///
/// # Errors
/// Something did not hold.
pub fn run(seed: u64, watch: Watch) -> Result<Passed, Box<Failed>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let swarm = swarm::Swarm::draw(&mut rng);
    let mut world = World::new(rng, swarm, watch);
    match world.run() {
        Ok(()) => Ok(Passed { hash: world.trace.hash(), reach: world.reach, events: world.events }),
        Err(broken) => Err(Box::new(Failed { seed, broken, lines: world.trace.into_lines() })),
    }
}

/// Runs one seed; if it fails, runs it again and watches it, so that the failure can be told with its last
/// lines.
///
/// # Errors
/// Something did not hold.
pub fn explain(seed: u64, lines: usize) -> Result<Passed, Box<Failed>> {
    run(seed, Watch::Nothing).or_else(|_| run(seed, Watch::Lines(lines)))
}

/// What holds or is broken, in words.
type Check = Result<(), String>;

/// A number between both, both included.
fn between(rng: &mut StdRng, low: u64, high: u64) -> u64 {
    rng.random_range(low..=high)
}
