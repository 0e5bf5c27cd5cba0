//! The bridge that tasks are on: a way out, and none to each other.
//!
//! One per engine, made at first use by whichever worker comes first. The interface is named after the engine, so that
//! two engines on one host do not take each other's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;
use tokio::process::Command;

use super::errors::{Failure, short, within};
use crate::runtime::RuntimeError;

/// The name of the network at the engine.
pub(super) const NETWORK: &str = "cloudai";
/// Where clouds answer any process of a machine with the machine's own credentials.
const METADATA: &str = "169.254.169.254";
const ISOLATED: &str = "com.docker.network.bridge.enable_icc";
const BRIDGE: &str = "com.docker.network.bridge.name";
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Between a lost race to make the network and the next look at it, and how often that is tried.
const RACE_PAUSE: Duration = Duration::from_millis(100);
const RACE_TRIES: u32 = 20;

/// Makes sure of the network, once.
#[derive(Debug)]
pub(super) struct Network {
    ready: AtomicBool,
    making: tokio::sync::Mutex<()>,
}

impl Network {
    /// Nothing is known of the network yet.
    pub(super) fn new() -> Self {
        Self { ready: AtomicBool::new(false), making: tokio::sync::Mutex::new(()) }
    }

    /// Looks again at the next use: somebody has removed it.
    pub(super) fn forget(&self) {
        self.ready.store(false, Ordering::Release);
    }

    /// Makes the network if it is not there.
    pub(super) async fn ensure(&self, engine: &Docker, engine_id: &str) -> Result<(), RuntimeError> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let _one_at_a_time = self.making.lock().await;
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let bridge = bridge_name(engine_id);
        make(engine, &bridge).await?;
        if let Err(reason) = block_metadata(&bridge).await {
            tracing::warn!(
                "tasks can reach {METADATA}, where clouds hand out the machine's credentials, if this host has it: {reason}"
            );
        }
        self.ready.store(true, Ordering::Release);
        Ok(())
    }
}

/// Interface names have at most 15 characters.
fn bridge_name(engine_id: &str) -> String {
    let digest = blake3::hash(engine_id.as_bytes()).to_hex();
    format!("cai-{}", digest.chars().take(8).collect::<String>())
}

/// The engine refuses a second bridge of one interface name; so of two workers that make the network at the same time
/// one fails, and finds the other's.
async fn make(engine: &Docker, bridge: &str) -> Result<(), RuntimeError> {
    let mut refusal = None;
    for _ in 0..RACE_TRIES {
        match within(CALL_LIMIT, engine.inspect_network(NETWORK, None::<InspectNetworkOptions>)).await {
            Ok(found) => return check(&found),
            Err(failure) if failure.is(404) => {}
            Err(failure) => return Err(failure.of_engine()),
        }
        match within(CALL_LIMIT, engine.create_network(request(bridge))).await {
            Ok(_) => return Ok(()),
            Err(Failure::Lost(reason)) => return Err(RuntimeError::Engine(reason)),
            Err(Failure::Answer { message, .. }) => refusal = Some(message),
        }
        tokio::time::sleep(RACE_PAUSE).await;
    }
    let reason = refusal.map_or_else(String::new, |message| short(&message));
    Err(RuntimeError::Engine(format!(
        "the network `{NETWORK}` for tasks cannot be made: {reason}; try `docker network create {NETWORK}` by hand to see \
         what is in its way, and remove that network again"
    )))
}

fn request(bridge: &str) -> NetworkCreateRequest {
    let options = [(ISOLATED, "false"), (BRIDGE, bridge)];
    NetworkCreateRequest {
        name: NETWORK.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        ..NetworkCreateRequest::default()
    }
}

/// Somebody may have made a network of this name by hand; one that lets tasks at each other is not used.
fn check(found: &NetworkInspect) -> Result<(), RuntimeError> {
    let option = |name: &str| found.options.as_ref().and_then(|options: &HashMap<_, _>| options.get(name));
    if found.driver.as_deref() == Some("bridge") && option(ISOLATED).is_some_and(|value| value == "false") {
        return Ok(());
    }
    Err(RuntimeError::Engine(format!(
        "there is a network `{NETWORK}` that CloudAI did not make, and containers on it can reach each other: remove it \
         with `docker network rm {NETWORK}`"
    )))
}

/// Drops what tasks send to the metadata address. The engine keeps the chain `DOCKER-USER` for rules like this one and
/// passes all traffic of containers through it first.
async fn block_metadata(bridge: &str) -> Result<(), String> {
    let rule = ["DOCKER-USER", "-i", bridge, "-d", METADATA, "-j", "DROP"];
    if iptables("-C", &rule).await.is_ok() {
        return Ok(());
    }
    iptables("-I", &rule).await
}

async fn iptables(action: &str, rule: &[&str]) -> Result<(), String> {
    let run = Command::new("iptables").args(["-w", "5", action]).args(rule).kill_on_drop(true).output();
    match tokio::time::timeout(CALL_LIMIT, run).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(format!("iptables: {}", short(&String::from_utf8_lossy(&output.stderr)))),
        Ok(Err(error)) => Err(format!("iptables: {error}")),
        Err(_) => Err("iptables does not end".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_are_named_after_the_engine() {
        let name = bridge_name("ZJSE:CU7I");
        assert_eq!(name.len(), 12);
        assert!(name.starts_with("cai-"));
        assert_ne!(name, bridge_name("ZJSE:CU7J"));
    }

    #[test]
    fn a_network_that_joins_tasks_is_refused() {
        let network = |icc: &str| NetworkInspect {
            driver: Some("bridge".to_owned()),
            options: Some(HashMap::from([(ISOLATED.to_owned(), icc.to_owned())])),
            ..NetworkInspect::default()
        };
        assert_eq!(check(&network("false")), Ok(()));
        assert!(check(&network("true")).is_err());
        assert!(check(&NetworkInspect { driver: Some("bridge".to_owned()), ..NetworkInspect::default() }).is_err());
    }
}
