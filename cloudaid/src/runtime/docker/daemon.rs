//! The engine's own process, where it can be seen from here: it may be in another container, or on a machine of its own behind
//! the socket.

use std::fs;
use std::path::Path;

use shared::time::{BootTime, WallTime};
use tokio::net::UnixStream;

use crate::clock;

/// What it is called.
const NAME: &str = "dockerd";
/// Where it writes its number.
const PID_FILE: &str = "/var/run/docker.pid";
/// Where it is configured if nobody says otherwise.
const CONFIG: &str = "/etc/docker/daemon.json";
/// The option, and the field of its configuration.
const PARENT: &str = "cgroup-parent";
/// The control group of its containers if nobody says otherwise, where it makes them itself.
const USUAL_PARENT: &str = "/docker";

/// The process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Daemon {
    id: u32,
    /// When it began.
    pub(super) began: WallTime,
}

impl Daemon {
    /// The one behind a socket.
    pub(super) async fn find(socket: &str) -> Option<Self> {
        let peer = UnixStream::connect(socket).await.ok()?.peer_cred().ok()?.pid();
        let of_socket = peer.and_then(|id| u32::try_from(id).ok()).and_then(Self::of);
        // Systemd may have made the socket, and is its peer then.
        of_socket.or_else(|| Self::of(fs::read_to_string(Path::new(PID_FILE)).ok()?.trim().parse().ok()?))
    }

    fn of(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Its name stands in brackets, and may contain anything; after it the third field begins.
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
        (name == NAME).then_some(Self { id, began: began(fields)? })
    }

    /// The control group that its containers are in, as whoever runs it wants it; none: it cannot be known.
    pub(super) fn cgroup_parent(&self) -> Option<String> {
        let command = fs::read(format!("/proc/{}/cmdline", self.id)).ok()?;
        let root = format!("/proc/{}/root", self.id);
        parent_of(&command, |path| fs::read_to_string(format!("{root}{path}")))
    }
}

/// When a process began, by what the kernel says of it: in ticks since the boot, which are finer than the seconds that others
/// make of them.
fn began(fields: &str) -> Option<WallTime> {
    // The 22nd of all.
    let ticks: u64 = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let since_boot = ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second();
    Some(clock::ago(clock::boot().since(BootTime(since_boot))))
}

/// By the command line, each argument of which ends in a NUL, or else by the configuration.
fn parent_of(command: &[u8], read: impl FnOnce(&str) -> std::io::Result<String>) -> Option<String> {
    let arguments: Vec<_> = command.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let option = |name: &str| {
        let long = format!("--{name}");
        arguments.iter().enumerate().rev().find_map(|(at, argument)| match argument.strip_prefix(&long)? {
            "" => arguments.get(at + 1).map(ToString::to_string),
            value => value.strip_prefix('=').map(str::to_owned),
        })
    };
    let parent = match option(PARENT) {
        Some(parent) => parent,
        None => match read(option("config-file").as_deref().unwrap_or(CONFIG)) {
            Ok(config) => {
                let config: serde_json::Value = serde_json::from_str(&config).ok()?;
                config.get(PARENT).map_or(Some(USUAL_PARENT), serde_json::Value::as_str)?.to_owned()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => USUAL_PARENT.to_owned(),
            Err(_) => return None,
        },
    };
    let is_plain = parent.starts_with('/') && !parent.split('/').any(|part| part == "..");
    // One that is not absolute stands below the engine's own.
    is_plain.then(|| parent.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    fn parent(command: &[&str], config: Result<&str, ErrorKind>) -> Option<String> {
        let command = command.iter().flat_map(|argument| [argument.as_bytes(), &[0]].concat()).collect::<Vec<_>>();
        parent_of(&command, |_| config.map(str::to_owned).map_err(Error::from))
    }

    #[test]
    fn the_group_of_containers_is_as_their_engine_was_told() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parent(&["dockerd"], Err(ErrorKind::NotFound)), some("/docker"));
        assert_eq!(parent(&["dockerd"], Ok("{}")), some("/docker"));
        assert_eq!(parent(&["dockerd"], Ok("{\"cgroup-parent\": \"/mine/\"}")), some("/mine"));
        assert_eq!(parent(&["dockerd", "--cgroup-parent", "/a/b", "-H", "fd://"], Ok("{}")), some("/a/b"));
        assert_eq!(parent(&["dockerd", "--cgroup-parent=/a"], Ok("{}")), some("/a"));
        for (command, config) in [
            (&["dockerd"][..], Err(ErrorKind::PermissionDenied)),
            (&["dockerd"], Ok("not json")),
            (&["dockerd"], Ok("{\"cgroup-parent\": 1}")),
            (&["dockerd", "--cgroup-parent", "below"], Ok("{}")),
            (&["dockerd", "--cgroup-parent", "/a/../../b"], Ok("{}")),
        ] {
            assert_eq!(parent(command, config), None, "{command:?} {config:?}");
        }
    }

    #[test]
    fn a_configuration_is_read_where_the_engine_has_it() {
        let command = b"dockerd\0--config-file\0/x/y.json\0";
        let parent = parent_of(command, |path| {
            assert_eq!(path, "/x/y.json");
            Ok("{\"cgroup-parent\": \"/z\"}".to_owned())
        });
        assert_eq!(parent.as_deref(), Some("/z"));
    }
}
