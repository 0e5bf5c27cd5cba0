//! How many files this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Asks for as many as it can have; returns how many it may have then.
pub(crate) fn as_many_as_can_be() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current < maximum || (current.is_some() && maximum.is_none()) {
        // What it has then is asked for below.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_can_be_had_is_asked_for() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // Hardly less, because other tests run in this process.
        let fewer = maximum.map_or(1 << 20, |maximum| maximum - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(fewer), maximum }).expect("less can always be had");
        // Without a limit there is still one of the kernel.
        assert!(as_many_as_can_be() >= maximum.unwrap_or(fewer));
    }
}
