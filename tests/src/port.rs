//! Ports that stay a server's own, also while it is down between a kill and a restart.

use std::fs::{self, File};
use std::net::TcpListener;

/// Below the range from which the kernel gives ports to connections, so that none of them takes it meanwhile.
const RANGE: std::ops::Range<u16> = 12_000..30_000;

/// A port of 127.0.0.1, ours until it is dropped.
#[derive(Debug)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Other tests see that it is taken by the lock on this file.
    _lock: File,
}

impl Port {
    /// Takes a free one.
    ///
    /// # Panics
    /// When none is to be had.
    #[must_use]
    pub fn take() -> Self {
        let dir = std::env::temp_dir().join("cloudai-test-ports");
        fs::create_dir_all(&dir).expect("the directory of port locks");
        for _ in 0..1_000 {
            let number = rand::random_range(RANGE);
            let lock = File::create(dir.join(number.to_string())).expect("a port lock");
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port in {RANGE:?}");
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_taken_once() {
        let ports: Vec<_> = (0..50).map(|_| Port::take()).collect();
        let numbers: std::collections::BTreeSet<_> = ports.iter().map(|port| port.number).collect();
        assert_eq!(numbers.len(), ports.len());
    }
}
