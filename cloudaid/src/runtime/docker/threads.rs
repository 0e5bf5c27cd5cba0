//! How many threads a program shall start.
//!
//! A container with two of 64 CPUs sees all of them, and thread pools that count CPUs start 64 threads that get in each
//! other's way. The usual libraries of numbers and the runtimes of some languages read how many to start from the environment.

use std::collections::{BTreeMap, BTreeSet};

/// OpenMP, the BLAS libraries of Intel and OpenBLAS, numexpr, Julia, Rayon, and Go before 1.25, which did not look at the
/// control group itself.
const VARIABLES: [&str; 7] = [
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "JULIA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "GOMAXPROCS",
];

/// The environment of a task with `cpu_millis`, with as many threads as it has CPUs, rounded up. What the task itself sets
/// stays, and so does what its image sets, which are the variables of these names. None is added where CPUs are not limited.
pub(super) fn environment(own: &BTreeMap<String, String>, of_image: &BTreeSet<String>, cpu_millis: u64) -> Vec<String> {
    let threads = cpu_millis.div_ceil(1000);
    let is_set = |name: &str| own.contains_key(name) || of_image.contains(name);
    let added = VARIABLES.into_iter().filter(|name| threads > 0 && !is_set(name));
    let own = own.iter().map(|(name, value)| format!("{name}={value}"));
    own.chain(added.map(|name| format!("{name}={threads}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_there_are_cpus_unless_the_task_says_otherwise() {
        let own = BTreeMap::from([("A".to_owned(), "b".to_owned()), ("OMP_NUM_THREADS".to_owned(), "7".to_owned())]);
        let none = BTreeSet::new();
        let found = environment(&own, &none, 1500);
        assert_eq!(found[..2], ["A=b", "OMP_NUM_THREADS=7"]);
        assert!(found[2..].iter().all(|line| line.ends_with("_THREADS=2") || line == "GOMAXPROCS=2"), "{found:?}");
        assert_eq!(found.len(), 2 + VARIABLES.len() - 1);
        assert_eq!(environment(&own, &none, 0).len(), 2);
        assert!(environment(&own, &none, 10).contains(&"MKL_NUM_THREADS=1".to_owned()));
    }

    #[test]
    fn what_the_image_says_stays() {
        let of_image = BTreeSet::from(["PATH".to_owned(), "MKL_NUM_THREADS".to_owned()]);
        let found = environment(&BTreeMap::new(), &of_image, 2000);
        assert_eq!(found.len(), VARIABLES.len() - 1);
        assert!(!found.iter().any(|line| line.starts_with("MKL_NUM_THREADS=")), "{found:?}");
    }
}
