//! What defaults take from the machine and the person who starts the process.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use shared::id::WorkerId;

use super::table::Role;

/// Read once at the start, and given to everything else as values, so that tests can make their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// The home directory, for `~/` in paths.
    pub home: Option<PathBuf>,
    /// `$XDG_DATA_HOME`, or what stands for it.
    pub data_home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`, or what stands for it.
    pub config_home: Option<PathBuf>,
    /// The host name.
    pub host: String,
    /// The addresses of its network interfaces.
    pub addresses: Vec<IpAddr>,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let home = etcetera::home_dir().ok();
        let addresses = addresses();
        match etcetera::base_strategy::Xdg::new() {
            Ok(xdg) => {
                Self { home, data_home: Some(xdg.data_dir()), config_home: Some(xdg.config_dir()), host, addresses }
            }
            Err(_) => Self { home, data_home: None, config_home: None, host, addresses },
        }
    }

    /// The default data directory of a role.
    #[must_use]
    pub fn data_dir(&self, role: &str) -> Option<String> {
        let directory = self.data_home.as_ref()?.join("cloudai").join(role);
        directory.into_os_string().into_string().ok()
    }

    /// The default name of a worker: the host's, if that is a valid one; always the same in `dev`.
    #[must_use]
    pub fn worker_name(&self, role: Role) -> Option<String> {
        match role {
            Role::Dev => Some("worker-1".to_owned()),
            Role::Master | Role::Worker => self.host.parse::<WorkerId>().ok().map(|name| name.to_string()),
        }
    }

    /// Where cloudctl keeps its contexts.
    #[must_use]
    pub fn contexts_file(&self) -> Option<PathBuf> {
        Some(self.config_home.as_ref()?.join("cloudctl").join("contexts.toml"))
    }

    /// `text` as a path. A leading `~/` is the home directory also where no shell has seen it.
    #[must_use]
    pub fn expand(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => Path::new(text).to_owned(),
        }
    }
}

fn addresses() -> Vec<IpAddr> {
    // Without a list the certificate only has fewer names.
    let networks = sysinfo::Networks::new_with_refreshed_list().ok();
    let networks = networks.iter().flat_map(|networks| networks.values());
    let mut addresses: Vec<_> =
        networks.flat_map(|network| network.ip_networks().iter().map(|network| network.addr)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(host: &str) -> Machine {
        Machine {
            home: Some("/home/ada".into()),
            data_home: Some("/home/ada/.local/share".into()),
            config_home: Some("/home/ada/.config".into()),
            host: host.to_owned(),
            addresses: Vec::new(),
        }
    }

    #[test]
    fn directories_are_below_the_homes() {
        let machine = machine("box");
        assert_eq!(machine.data_dir("dev").as_deref(), Some("/home/ada/.local/share/cloudai/dev"));
        assert_eq!(machine.contexts_file(), Some("/home/ada/.config/cloudctl/contexts.toml".into()));
        assert_eq!(Machine::default().data_dir("dev"), None);
        assert_eq!(machine.expand("~/x"), Path::new("/home/ada/x"));
        assert_eq!(machine.expand("a/~/x"), Path::new("a/~/x"));
    }

    #[test]
    fn a_host_name_that_is_no_worker_name_is_not_taken() {
        assert_eq!(machine("node-7.example").worker_name(Role::Worker).as_deref(), Some("node-7.example"));
        assert_eq!(machine("my host").worker_name(Role::Worker), None);
        assert_eq!(machine("my host").worker_name(Role::Dev).as_deref(), Some("worker-1"));
    }
}
