//! The bridges that tasks are on: a way out, and none to each other. One goes everywhere that the machine does, one to the
//! Internet only.
//!
//! One of each per engine, made at first use by whichever worker comes first. The interfaces are named after the engine,
//! so that two engines on one host do not take each other's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;
use shared::confinement::NetworkAccess;

use super::errors::{Failure, short, within};
use crate::runtime::RuntimeError;

mod rules;

const ISOLATED: &str = "com.docker.network.bridge.enable_icc";
const BRIDGE: &str = "com.docker.network.bridge.name";
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Between a lost race to make the network and the next look at it, and how often that is tried.
const RACE_PAUSE: Duration = Duration::from_millis(100);
const RACE_TRIES: u32 = 20;

/// The name at the engine of the network that tasks with this access are on.
pub(super) fn name(access: NetworkAccess) -> &'static str {
    match access {
        NetworkAccess::Outgoing => "cloudai",
        NetworkAccess::Public => "cloudai-public",
        NetworkAccess::None => "none",
    }
}

/// Makes sure of the networks.
#[derive(Debug, Default)]
pub(super) struct Network {
    outgoing: Bridge,
    public: Bridge,
    /// Whether it was said that tasks can reach too much.
    warned: AtomicBool,
}

#[derive(Debug, Default)]
struct Bridge {
    ready: AtomicBool,
    making: tokio::sync::Mutex<()>,
}

/// Whether rules can be had here.
pub(super) async fn firewall() -> Result<(), String> {
    rules::can_be_had().await
}

impl Network {
    /// Looks again at the next use: somebody has removed one.
    pub(super) fn forget(&self) {
        self.outgoing.ready.store(false, Ordering::Release);
        self.public.ready.store(false, Ordering::Release);
    }

    /// Makes the network of this access if it is not there. Where no rule of the firewall can be had, tasks that may reach
    /// everything reach that too; those that may not are not run.
    pub(super) async fn ensure(
        &self,
        engine: &Docker,
        engine_id: &str,
        access: NetworkAccess,
    ) -> Result<(), RuntimeError> {
        match access {
            NetworkAccess::None => Ok(()),
            NetworkAccess::Outgoing => {
                let bridge = interface("cai", engine_id);
                self.outgoing.ensure(engine, access, &bridge).await?;
                // Each time, as below; said once.
                if let Err(reason) = rules::ensure(&rules::no_metadata(&bridge)).await
                    && !self.warned.swap(true, Ordering::Relaxed)
                {
                    let address = rules::METADATA;
                    tracing::warn!(
                        "tasks can reach {address}, where clouds hand out the machine's credentials, if this host has it: \
                         {reason}"
                    );
                }
                Ok(())
            }
            NetworkAccess::Public => {
                let bridge = interface("cap", engine_id);
                self.public.ensure(engine, access, &bridge).await?;
                // Each time: whoever reloads the firewall takes them away.
                let rules = rules::public_only(&bridge, &rules::resolvers().await);
                rules::ensure(&rules).await.map_err(|reason| {
                    RuntimeError::Engine(format!(
                        "nothing keeps the task from private addresses: {reason}; the worker has to run as root, with iptables"
                    ))
                })
            }
        }
    }
}

impl Bridge {
    async fn ensure(&self, engine: &Docker, access: NetworkAccess, bridge: &str) -> Result<(), RuntimeError> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let _one_at_a_time = self.making.lock().await;
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        make(engine, name(access), bridge).await?;
        self.ready.store(true, Ordering::Release);
        Ok(())
    }
}

/// Interface names have at most 15 characters.
fn interface(prefix: &str, engine_id: &str) -> String {
    let digest = blake3::hash(engine_id.as_bytes()).to_hex();
    format!("{prefix}-{}", digest.chars().take(8).collect::<String>())
}

/// The engine refuses a second bridge of one interface name; so of two workers that make the network at the same time
/// one fails, and finds the other's.
async fn make(engine: &Docker, name: &str, bridge: &str) -> Result<(), RuntimeError> {
    let mut refusal = None;
    for _ in 0..RACE_TRIES {
        match within(CALL_LIMIT, engine.inspect_network(name, None::<InspectNetworkOptions>)).await {
            Ok(found) => return check(name, &found),
            Err(failure) if failure.is(404) => {}
            Err(failure) => return Err(failure.of_engine()),
        }
        match within(CALL_LIMIT, engine.create_network(request(name, bridge))).await {
            Ok(_) => return Ok(()),
            Err(Failure::Lost(reason)) => return Err(RuntimeError::Engine(reason)),
            Err(Failure::Answer { message, .. }) => refusal = Some(message),
        }
        tokio::time::sleep(RACE_PAUSE).await;
    }
    let reason = refusal.map_or_else(String::new, |message| short(&message));
    Err(RuntimeError::Engine(format!(
        "the network `{name}` for tasks cannot be made: {reason}; try `docker network create {name}` by hand to see \
         what is in its way, and remove that network again"
    )))
}

fn request(network: &str, bridge: &str) -> NetworkCreateRequest {
    let options = [(ISOLATED, "false"), (BRIDGE, bridge)];
    NetworkCreateRequest {
        name: network.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        ..NetworkCreateRequest::default()
    }
}

/// Somebody may have made a network of this name by hand; one that lets tasks at each other is not used.
fn check(name: &str, found: &NetworkInspect) -> Result<(), RuntimeError> {
    let option = |name: &str| found.options.as_ref().and_then(|options: &HashMap<_, _>| options.get(name));
    if found.driver.as_deref() == Some("bridge") && option(ISOLATED).is_some_and(|value| value == "false") {
        return Ok(());
    }
    Err(RuntimeError::Engine(format!(
        "there is a network `{name}` that CloudAI did not make, and containers on it can reach each other: remove it \
         with `docker network rm {name}`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_are_named_after_the_engine() {
        let name = interface("cai", "ZJSE:CU7I");
        assert_eq!(name.len(), 12);
        assert!(name.starts_with("cai-"));
        assert_ne!(name, interface("cai", "ZJSE:CU7J"));
    }

    #[test]
    fn a_network_that_joins_tasks_is_refused() {
        let network = |icc: &str| NetworkInspect {
            driver: Some("bridge".to_owned()),
            options: Some(HashMap::from([(ISOLATED.to_owned(), icc.to_owned())])),
            ..NetworkInspect::default()
        };
        assert_eq!(check("cloudai", &network("false")), Ok(()));
        assert!(check("cloudai", &network("true")).is_err());
        assert!(
            check("cloudai", &NetworkInspect { driver: Some("bridge".to_owned()), ..NetworkInspect::default() })
                .is_err()
        );
    }
}
