//! The master: where it is, and how it is called. A connection of its own for each call, as the first generation does it,
//! so that a master that came back is found at once.

use std::net::IpAddr;
use std::time::Duration;

use http::uri::Authority;
use serde::{Deserialize, Serialize};
use shared::proto::seed::MasterInfo;
use shared::proto::seed::master_worker_client::MasterWorkerClient;
use shared::text::printable;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::keepalive;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest address, and the most that is shown of the master's name.
const TEXT_LIMIT: usize = 255;
/// The largest message sent: a report with its log.
const MESSAGE_LIMIT: usize = 64 << 20;

/// Whom to report to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Master {
    /// For people.
    pub(super) id: String,
    /// `host:port`.
    pub(super) address: String,
}

impl Master {
    /// As it presents itself from `caller`. One that names no host of its own (`:50051`, `0.0.0.0:50051`) is where it
    /// calls from.
    pub(super) fn from_wire(info: &MasterInfo, caller: Option<IpAddr>) -> Result<Self, String> {
        let given = info.master_address.trim();
        let refuse = || {
            let shown = printable(&given.chars().take(80).collect::<String>());
            format!("master_address: `{shown}` is no address; give HOST:PORT such as 10.0.0.1:50051")
        };
        let with_host = if given.starts_with(':') { format!("0.0.0.0{given}") } else { given.to_owned() };
        let authority: Authority = with_host.parse().map_err(|_| refuse())?;
        let port = authority.port_u16().filter(|port| *port != 0).ok_or_else(refuse)?;
        let host = authority.host();
        if host.is_empty() || given.contains('@') || given.len() > TEXT_LIMIT {
            return Err(refuse());
        }
        let is_any = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
        let address = match caller.map(|caller| caller.to_canonical()) {
            Some(IpAddr::V4(caller)) if is_any => format!("{caller}:{port}"),
            Some(IpAddr::V6(caller)) if is_any => format!("[{caller}]:{port}"),
            Some(_) | None => format!("{host}:{port}"),
        };
        Ok(Self { id: printable(&info.master_id.chars().take(TEXT_LIMIT).collect::<String>()), address })
    }

    /// A connection to it. The status says why there is none.
    pub(super) async fn connect(&self) -> Result<MasterWorkerClient<Channel>, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        let endpoint = endpoint.map_err(|error| Status::unavailable(error.to_string()))?;
        let channel = endpoint
            .connect_timeout(CONNECT_LIMIT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(keepalive::EVERY)
            .keep_alive_timeout(keepalive::LIMIT)
            .connect()
            .await
            .map_err(|_| Status::unavailable(format!("the master at {} cannot be reached", self.address)))?;
        Ok(MasterWorkerClient::new(channel).max_encoding_message_size(MESSAGE_LIMIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(given: &str, caller: Option<&str>) -> Result<String, String> {
        let info = MasterInfo { master_id: "m\u{1b}".to_owned(), master_address: given.to_owned() };
        let caller = caller.map(|caller| caller.parse().expect("an address"));
        Master::from_wire(&info, caller).map(|master| {
            assert_eq!(master.id, "m\\u{1b}");
            master.address
        })
    }

    #[test]
    fn a_master_is_where_it_says_or_where_it_calls_from() {
        for (given, caller, expected) in [
            ("10.0.0.1:50051", Some("10.0.0.9"), "10.0.0.1:50051"),
            (" master.example:1 ", None, "master.example:1"),
            ("[::1]:7", None, "[::1]:7"),
            (":50051", Some("10.0.0.9"), "10.0.0.9:50051"),
            ("0.0.0.0:50051", Some("::ffff:10.0.0.9"), "10.0.0.9:50051"),
            ("[::]:50051", Some("fd00::1"), "[fd00::1]:50051"),
        ] {
            assert_eq!(address(given, caller).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}:1", "x".repeat(TEXT_LIMIT));
        for given in ["", "host", "host:0", "host:99999", "http://host:1", "a b:1", "me@host:1", "host:1/path", &long] {
            let refused = address(given, None).expect_err(given);
            assert!(refused.contains("HOST:PORT") && refused.len() < 300, "{refused}");
        }
    }
}
