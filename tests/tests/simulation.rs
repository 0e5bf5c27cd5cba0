//! The whole cluster under seeds: see [`cloudai_tests::sim`].
//!
//! `CLOUDAI_SIM_SEEDS` says how many seeds, `CLOUDAI_SIM_FIRST` where they begin, `CLOUDAI_SIM_LINES` how many lines of
//! a failure to print.
#![allow(clippy::panic, clippy::expect_used, clippy::print_stdout, reason = "a test fails by panicking and tells why")]

use std::time::Instant;

use cloudai_tests::sim::{self, Failed, Reach, Watch};

/// Each found a mistake, made or planted: a fence not checked, a container made twice, a cancel forgotten, a report passed
/// over, a stop not journaled, a late assignment taken, a lost run kept.
const REGRESSIONS: &[u64] = &[100_006, 100_003, 100_038, 100_011, 100_143, 100_010, 100_070];
const DEFAULT_SEEDS: u64 = 1800;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: `{text}` is not a number")))
}

fn tell(failed: &Failed) -> String {
    let Failed { seed, broken, lines } = failed;
    let lines = lines.join("\n");
    format!(
        "{lines}\n\nseed {seed}: {broken}\nrepeat: CLOUDAI_SIM_FIRST={seed} CLOUDAI_SIM_SEEDS=1 \
         cargo test --workspace --test simulation -- --nocapture everything_holds"
    )
}

#[test]
fn everything_holds_whatever_goes_wrong() {
    let (first, count) = (number("CLOUDAI_SIM_FIRST"), number("CLOUDAI_SIM_SEEDS"));
    let lines = number("CLOUDAI_SIM_LINES").unwrap_or(60) as usize;
    let start = first.unwrap_or(1);
    let seeds = start..start + count.unwrap_or(DEFAULT_SEEDS);
    let regressions = REGRESSIONS.iter().copied().filter(|_| first.is_none());
    let (mut reach, mut events, began) = (Reach::default(), 0, Instant::now());
    for seed in regressions.chain(seeds) {
        match sim::explain(seed, lines) {
            Ok(passed) => {
                reach.add(&passed.reach);
                events += passed.events;
            }
            Err(failed) => panic!("{}", tell(&failed)),
        }
    }
    println!("{reach}{events} events in {:.1} s", began.elapsed().as_secs_f64());
    if first.is_none() && count.is_none() {
        assert_eq!(reach.missing(), [], "never reached: the simulator is too tame");
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in 1..=8 {
        let hash = |_| sim::run(seed, Watch::Hash).unwrap_or_else(|failed| panic!("{}", tell(&failed))).hash;
        let [one, two] = [(); 2].map(hash);
        assert_eq!(one, two, "seed {seed}");
        assert_ne!(one, sim::run(seed + 100, Watch::Hash).map_or(0, |passed| passed.hash));
    }
}
