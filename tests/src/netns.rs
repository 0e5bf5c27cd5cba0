//! Networks of workers that can be cut off: a network namespace each, and a wire to that of the tests.

use std::process::{Command, Stdio};

use crate::worker::Network;

/// A namespace and its wire. Dropped, both are gone.
#[derive(Debug)]
pub struct Netns {
    name: String,
    /// The end of the wire that is here.
    wire: String,
    gateway: String,
}

/// What of a wire is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// All of it: nothing comes through, and nothing says so.
    Both,
    /// What the worker sends.
    FromWorker,
    /// What the worker is sent.
    ToWorker,
}

impl Netns {
    /// Makes one.
    ///
    /// # Panics
    /// Without the right to it.
    #[must_use]
    pub fn make() -> Self {
        let [a, b, c] = rand::random::<[u8; 3]>();
        // 100.64.0.0/10 is nobody's own.
        let address = |last: u8| format!("100.{}.{b}.{}", 64 + a % 64, c & 0xfc | last);
        Self::at(address(1), &address(2))
    }

    /// Makes one with these addresses at our end and at its own, in one network of four.
    ///
    /// # Panics
    /// Without the right to it.
    #[must_use]
    pub fn at(ours: String, theirs: &str) -> Self {
        let number = rand::random_range(0..0x00ff_ffff_u32);
        let (name, wire) = (format!("cloudai-{number:x}"), format!("cai{number:x}"));
        let netns = Self { name, wire, gateway: ours };
        let Self { name, wire, gateway } = &netns;
        run(&["netns", "add", name]);
        run(&["link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name]);
        run(&["addr", "add", &format!("{gateway}/30"), "dev", wire]);
        run(&["link", "set", wire, "up"]);
        run(&["-n", name, "addr", "add", &format!("{theirs}/30"), "dev", "eth0"]);
        run(&["-n", name, "link", "set", "lo", "up"]);
        run(&["-n", name, "link", "set", "eth0", "up"]);
        netns
    }

    /// For a worker.
    #[must_use]
    pub fn network(&self) -> Network {
        Network { name: self.name.clone(), gateway: self.gateway.clone() }
    }

    /// A command that runs in it.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Cuts the wire.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn cut(&self, cut: Cut) {
        match cut {
            Cut::Both => run(&["link", "set", &self.wire, "down"]),
            Cut::FromWorker => self.filter("-A", "OUTPUT"),
            Cut::ToWorker => self.filter("-A", "INPUT"),
        }
    }

    /// Mends it.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn mend(&self, cut: Cut) {
        match cut {
            Cut::Both => run(&["link", "set", &self.wire, "up"]),
            Cut::FromWorker => self.filter("-D", "OUTPUT"),
            Cut::ToWorker => self.filter("-D", "INPUT"),
        }
    }

    fn filter(&self, action: &str, chain: &str) {
        run(&["netns", "exec", &self.name, "iptables", "-w", action, chain, "!", "-i", "lo", "-j", "DROP"].map(
            |word| {
                // What goes out has an interface to go out by.
                if word == "-i" && chain == "OUTPUT" { "-o" } else { word }
            },
        ));
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // The wire goes with the namespace.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn run(words: &[&str]) {
    let problem = ip(words).err();
    assert!(problem.is_none(), "ip {}: {}; it needs root", words.join(" "), problem.unwrap_or_default());
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
