//! What the host's firewall keeps from tasks. The engine keeps the chain `DOCKER-USER` for rules like these and passes all
//! that containers send to other machines through it first; what they send to their own goes through `INPUT`.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::process::Command;

use crate::runtime::docker::errors::short;

/// Where clouds answer any process of a machine with the machine's own credentials.
pub(super) const METADATA: &str = "169.254.169.254";
/// Networks that are nobody's on the Internet: RFC 1918, RFC 6598, link-local, loopback, and broadcast.
const PRIVATE: [&str; 7] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "255.255.255.255/32",
];
/// Where the resolvers of a machine are named: the second where the first only names one of its own.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
const LIMIT: Duration = Duration::from_secs(30);

/// One rule, as `iptables` takes it: the chain, then what it says.
pub(super) type Rule = Vec<String>;

/// Drops what tasks on `bridge` send to the metadata address.
pub(super) fn no_metadata(bridge: &str) -> Vec<Rule> {
    vec![rule(&format!("DOCKER-USER -i {bridge} -d {METADATA} -j DROP"))]
}

/// Drops what tasks on `bridge` send to a private address or to their own machine, but for questions to `resolvers`. Later
/// rules are to come first.
pub(super) fn public_only(bridge: &str, resolvers: &[Ipv4Addr]) -> Vec<Rule> {
    let dropped = PRIVATE.iter().map(|net| rule(&format!("DOCKER-USER -i {bridge} -d {net} -j DROP")));
    let own = rule(&format!("INPUT -i {bridge} -j DROP"));
    let asked = resolvers.iter().flat_map(|address| {
        ["udp", "tcp"]
            .map(|protocol| rule(&format!("DOCKER-USER -i {bridge} -d {address} -p {protocol} --dport 53 -j RETURN")))
    });
    dropped.chain([own]).chain(asked).collect()
}

/// Those that the engine tells containers of, as far as they are at other machines.
pub(super) async fn resolvers() -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    for file in RESOLVERS {
        let text = tokio::fs::read_to_string(file).await.unwrap_or_default();
        found.extend(resolvers_in(&text));
    }
    found.dedup();
    found
}

fn resolvers_in(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = named.filter_map(|address| address.trim().parse::<Ipv4Addr>().ok());
    addresses.filter(|address| !address.is_loopback()).collect::<Vec<_>>().into_iter()
}

/// Makes sure of rules that may be there already.
///
/// # Errors
/// One of them is not there and cannot be made, in words.
pub(super) async fn ensure(rules: &[Rule]) -> Result<(), String> {
    for rule in rules {
        if iptables("-C", rule).await.is_err() {
            iptables("-I", rule).await?;
        }
    }
    Ok(())
}

/// Whether there is a chain for them that this process can look at; whoever can, can write to it.
///
/// # Errors
/// There is none, in words.
pub(super) async fn can_be_had() -> Result<(), String> {
    iptables("-S", &rule("DOCKER-USER")).await
}

fn rule(text: &str) -> Rule {
    text.split(' ').map(str::to_owned).collect()
}

async fn iptables(action: &str, rule: &Rule) -> Result<(), String> {
    let run = Command::new("iptables").args(["-w", "5", action]).args(rule).kill_on_drop(true).output();
    match tokio::time::timeout(LIMIT, run).await {
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
    fn resolvers_are_asked_past_the_rules_that_keep_everything_private() {
        let text =
            "# by hand\nnameserver 10.0.0.2\nnameserver ::1\n nameserver 127.0.0.53\noptions edns0\nnameserver x\n";
        let resolvers: Vec<_> = resolvers_in(text).collect();
        assert_eq!(resolvers, [Ipv4Addr::new(10, 0, 0, 2)]);
        let rules: Vec<String> = public_only("cap-1", &resolvers).iter().map(|rule| rule.join(" ")).collect();
        assert!(rules.contains(&"DOCKER-USER -i cap-1 -d 192.168.0.0/16 -j DROP".to_owned()), "{rules:?}");
        assert!(rules.contains(&"INPUT -i cap-1 -j DROP".to_owned()), "{rules:?}");
        // Each is put before those that are there.
        let last = rules.last().map(String::as_str);
        assert_eq!(last, Some("DOCKER-USER -i cap-1 -d 10.0.0.2 -p tcp --dport 53 -j RETURN"));
    }
}
