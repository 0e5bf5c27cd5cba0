//! Texts to values. Each refusal says what to write instead.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::http::uri::Authority;
use cloudaid_core::images::ImagePattern;
use mongodb::options::{ConnectionString, ServerAddress};
use shared::id::UserName;
use shared::resources::Quantity;
use shared::submit::{LABEL_LIMIT, TEXT_LIMIT};
use shared::worker::{is_label_name, is_label_value};

use super::Secret;
use crate::master::join_token::pool_problem;

/// The longest advertised address, in characters.
const ADVERTISE_LIMIT: usize = 255;
/// The port of a master when none is given.
const GRPC_PORT: u16 = 50051;

/// `text` for a message: short and without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        short.push_str("...");
    }
    short
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("`{}` is neither `true` nor `false`", shown(text))),
    }
}

/// An address to listen at.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let hint = "give ADDRESS:PORT such as 127.0.0.1:8080";
    text.parse().map_err(|_| format!("`{}` is not an address to listen at; {hint}", shown(text)))
}

/// Whether only this machine can reach it.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// A number and a unit: `500ms`, `5s`, `2m`, `12h`, `7d`; within `least..=most`.
pub(super) fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let millis = match unit.trim() {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let total = millis.zip(number.parse::<u64>().ok()).and_then(|(factor, number)| number.checked_mul(factor));
    let Some(total) = total else {
        return Err(format!("`{}` is not a time; give a whole number and ms, s, m, h or d, such as 30s", shown(text)));
    };
    let duration = Duration::from_millis(total);
    if duration < least || duration > most {
        return Err(format!("`{trimmed}` is not between {} and {}", in_words(least), in_words(most)));
    }
    Ok(duration)
}

/// A time, or `never`.
pub(super) fn retention(text: &str, least: Duration, most: Duration) -> Result<Option<Duration>, String> {
    match text.trim() {
        "never" => Ok(None),
        text => duration(text, least, most).map(Some).map_err(|error| format!("{error}; or `never`")),
    }
}

/// A size of at least `least` bytes, or `all`.
pub(super) fn size_or_all(text: &str, least: u64) -> Result<Option<u64>, String> {
    match text.trim() {
        "all" => Ok(None),
        text => match bytes(text).map_err(|error| format!("{error}; or `all`"))? {
            bytes if bytes < least => Err(format!("`{text}` is less than {least} bytes; give more, or `all`")),
            bytes => Ok(Some(bytes)),
        },
    }
}

/// A size: GiB, or with a unit.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    Quantity::Text(text.trim().to_owned()).to_bytes("it").map_err(|error| error.to_string())
}

/// An address of a service that is spoken to over HTTP.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest.and_then(|rest| Authority::try_from(rest).ok()) {
        Some(authority) if !authority.as_str().contains('@') => Ok(text.to_owned()),
        _ => Err(format!("`{}` is not an address; give https://HOST or https://HOST:PORT", shown(text))),
    }
}

/// A URI of MongoDB. The message never repeats it, because a password is in it.
pub(super) fn mongodb_uri(text: &str) -> Result<Secret, String> {
    match ConnectionString::parse(text.trim()) {
        Ok(_) => Ok(Secret::new(text.trim())),
        Err(_) => {
            Err("it is no MongoDB URI, such as mongodb://USER:PASSWORD@HOST:27017/cloudai; special characters in \
                       the password are written as %XX"
                .to_owned())
        }
    }
}

/// Where MongoDB listens.
pub(super) fn mongodb_host(text: &str) -> Result<String, String> {
    match ServerAddress::parse(text.trim()) {
        Ok(_) if !text.contains(['/', '@']) => Ok(text.trim().to_owned()),
        // It may have a password in it.
        _ if text.contains(['/', '@']) => {
            Err("it is a URI, and no HOST or HOST:PORT; set MONGODB_URI to it".to_owned())
        }
        _ => Err(format!("`{}` is not an address; give HOST or HOST:PORT", shown(text))),
    }
}

/// The name of a database of MongoDB, as it takes them on every system.
pub(super) fn database(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_good = (1..=63).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if is_good {
        Ok(text.to_owned())
    } else {
        Err(format!("`{}` is no name of a database; give 1 to 63 letters, digits, `-` and `_`", shown(text)))
    }
}

/// A time as [`duration`] reads it.
pub(super) fn in_words(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let unit = units.into_iter().find(|(factor, _)| millis >= *factor && millis.is_multiple_of(*factor));
    let (factor, unit) = unit.unwrap_or((1, "ms"));
    format!("{}{unit}", millis / factor)
}

/// Addresses of masters, as `host:port`.
pub(super) fn masters(text: &str) -> Result<Vec<String>, String> {
    let masters: Vec<_> = parts(text).map(master).collect::<Result<_, _>>()?;
    if masters.is_empty() {
        return Err("it names no master; give HOST:PORT such as 10.0.0.1:50051".to_owned());
    }
    Ok(masters)
}

fn master(text: &str) -> Result<String, String> {
    let hint = "give HOST:PORT such as 10.0.0.1:50051";
    let plain = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = plain.unwrap_or(text).trim_end_matches('/');
    let refuse = || format!("`{}` is not the address of a master; {hint}", shown(text));
    let authority: http::uri::Authority = plain.parse().map_err(|_| refuse())?;
    let port_is_wrong = authority.port_u16().is_none() && plain.len() > authority.host().len();
    if authority.host().is_empty() || plain.contains('@') || port_is_wrong || authority.port_u16() == Some(0) {
        return Err(refuse());
    }
    Ok(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(GRPC_PORT)))
}

/// The socket of the engine, as `unix:///path`.
pub(super) fn docker_host(text: &str) -> Result<String, String> {
    let text = text.trim();
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if path.starts_with('/') {
        return Ok(format!("unix://{path}"));
    }
    let why = if text.starts_with("tcp://") || text.starts_with("http") {
        "is open to the network, and whoever reaches an engine owns its machine"
    } else {
        "is not a unix socket"
    };
    Err(format!("`{}` {why}; give one such as unix:///var/run/docker.sock", shown(text)))
}

/// `a=b,c=d`.
pub(super) fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for part in parts(text) {
        let hint = "give NAME=VALUE such as disk=ssd";
        let (name, value) = part.split_once('=').ok_or_else(|| format!("`{}` has no `=`; {hint}", shown(part)))?;
        if !is_label_name(name) || !is_label_value(value) {
            let limits = format!("at most {TEXT_LIMIT} characters each, and no `!` before or behind the name");
            return Err(format!("`{}` is not a label; {hint}, {limits}", shown(part)));
        }
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("`{}` is there twice; keep one", shown(name)));
        }
    }
    if labels.len() > LABEL_LIMIT {
        return Err(format!("{} labels are too many; give at most {LABEL_LIMIT}", labels.len()));
    }
    Ok(labels)
}

/// A host, or a host and a port; only shown.
pub(super) fn advertise(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.chars().count() > ADVERTISE_LIMIT || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("`{}` is not an address; give a host name or HOST:PORT", shown(text)));
    }
    Ok(text.to_owned())
}

/// Names that a browser may call us by, in lower case and without ports.
pub(super) fn hosts(text: &str) -> Result<Vec<String>, String> {
    let host = |part: &str| {
        let good = Authority::try_from(part).is_ok_and(|name| name.host() == part && !part.contains('@'));
        if good {
            Ok(part.to_ascii_lowercase())
        } else {
            Err(format!("`{}` is not the name of a host; give it without scheme and port", shown(part)))
        }
    };
    parts(text).map(host).collect()
}

/// Web sites, as browsers write them in the header `Origin`.
pub(super) fn origins(text: &str) -> Result<Vec<String>, String> {
    let origin = |part: &str| {
        let authority = part.strip_prefix("https://").or_else(|| part.strip_prefix("http://"));
        let good =
            authority.is_some_and(|text| Authority::try_from(text).is_ok_and(|name| !name.as_str().contains('@')));
        if good && *part == part.to_ascii_lowercase() {
            Ok(part.to_owned())
        } else {
            Err(format!("`{}` is not an origin; give SCHEME://HOST or SCHEME://HOST:PORT, in lower case", shown(part)))
        }
    };
    parts(text).map(origin).collect()
}

/// A whole number in a range.
pub(super) fn whole(text: &str, range: std::ops::RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.trim().parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("`{}` is not a whole number from {} to {}", shown(text), range.start(), range.end()))
}

/// Names of users.
pub(super) fn users(text: &str) -> Result<BTreeSet<UserName>, String> {
    parts(text).map(|name| name.parse().map_err(|error| format!("`{}`: {error}", shown(name)))).collect()
}

/// Which images tasks may have.
pub(super) fn images(text: &str) -> Result<Vec<ImagePattern>, String> {
    let pattern =
        |part: &str| part.parse().map_err(|error| format!("`{}` is no pattern of images: {error}", shown(part)));
    let patterns: Vec<_> = parts(text).map(pattern).collect::<Result<_, _>>()?;
    // Who means none does not mean all.
    if patterns.is_empty() && !text.trim().is_empty() {
        return Err("it names no images; leave it out to allow all".to_owned());
    }
    Ok(patterns)
}

/// Names of pools, as join tokens give them.
pub(super) fn pools(text: &str) -> Result<BTreeSet<String>, String> {
    let pool = |name: &str| match pool_problem(name) {
        None => Ok(name.to_owned()),
        Some((problem, _)) => Err(format!("`{}` is no pool: {problem}", shown(name))),
    };
    parts(text).map(pool).collect()
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_origins_are_what_browsers_send() {
        assert_eq!(hosts("Cloud.Example, b"), Ok(vec!["cloud.example".to_owned(), "b".to_owned()]));
        for bad in ["https://a", "a:80", "a/b", "u@a", "a b"] {
            assert!(hosts(bad).is_err(), "{bad}");
        }
        let two = "https://portal.example,http://localhost:3000";
        assert_eq!(origins(two).expect("two").join(","), two);
        for bad in ["portal.example", "https://", "https://a/", "https://A", "*", "null", "https://u@a", "ftp://a"] {
            assert!(origins(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_a_unit_and_a_range() {
        let read = |text| duration(text, Duration::from_millis(10), Duration::from_secs(86_400));
        for (text, millis) in [("500ms", 500), ("5s", 5000), ("2m", 120_000), ("12h", 43_200_000), ("1d", 86_400_000)] {
            assert_eq!(read(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(in_words(Duration::from_millis(millis)), text);
        }
        for bad in ["", "5", "s", "-5s", "1.5s", "5 parsecs", "99999999999999999999s", "9999999999999999d", "9ms", "2d"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(read("2d"), Err("`2d` is not between 10ms and 1d".to_owned()));
    }

    #[test]
    fn addresses_of_masters_are_brought_into_one_form() {
        for (text, expected) in [
            ("10.0.0.1:50051", "10.0.0.1:50051"),
            ("http://m1:7/", "m1:7"),
            ("https://m1:7", "m1:7"),
            ("m1", "m1:50051"),
            ("[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(masters(text), Ok(vec![expected.to_owned()]), "{text}");
        }
        assert_eq!(masters(" a:1, b:2 ,"), Ok(vec!["a:1".to_owned(), "b:2".to_owned()]));
        for bad in ["", ",", "m:x", "m:", "m:0", "m:70000", "user@m:1", "ftp://m:1", "a b:1", "m:1/path"] {
            assert!(masters(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_unix_sockets_lead_to_an_engine() {
        assert_eq!(docker_host("/run/d.sock"), Ok("unix:///run/d.sock".to_owned()));
        assert_eq!(docker_host("unix:///run/d.sock"), Ok("unix:///run/d.sock".to_owned()));
        for bad in ["tcp://10.0.0.1:2375", "ssh://host", "unix://relative", ""] {
            assert!(docker_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_to_listen_at() {
        assert_eq!(listen("localhost:7").map(|a| a.to_string()), Ok("127.0.0.1:7".to_owned()));
        assert_eq!(listen("[::1]:7").map(|a| is_loopback(a.ip())), Ok(true));
        assert_eq!(listen("[::ffff:127.0.0.1]:7").map(|a| is_loopback(a.ip())), Ok(true));
        assert_eq!(listen("0.0.0.0:7").map(|a| is_loopback(a.ip())), Ok(false));
        for bad in ["8080", ":8080", "host:1", "127.0.0.1", "127.0.0.1:70000", ""] {
            assert!(listen(bad).expect_err(bad).contains("127.0.0.1:8080"), "{bad}");
        }
    }

    #[test]
    fn names_of_pools_are_those_that_a_join_token_can_give() {
        assert_eq!(pools("edge, gpu-a,edge"), Ok(["edge", "gpu-a"].map(str::to_owned).into()));
        for bad in ["a b", "a/b", &"a".repeat(64)] {
            assert!(pools(bad).expect_err(bad).contains("is no pool"), "{bad}");
        }
    }

    #[test]
    fn labels_and_small_values() {
        assert_eq!(labels("a=b, c=").map(|labels| labels.len()), Ok(2));
        for bad in ["a", "=b", "a=1,a=2", "a=\u{7}", "a!=b", "!a=b"] {
            assert!(labels(bad).is_err(), "{bad}");
        }
        assert_eq!((switch("TRUE"), switch("off")), (Ok(true), Ok(false)));
        assert!(switch("maybe").is_err() && advertise("a b").is_err());
        assert_eq!(whole("3", 1..=100), Ok(3));
        let patterns = images(" ghcr.io/acme/*,docker.io/busybox ,").expect("two");
        assert_eq!(
            patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            "ghcr.io/acme/* docker.io/library/busybox"
        );
        assert!(
            images("busybox").expect_err("no registry").contains("`busybox` is no pattern of images: give REGISTRY")
        );
        assert!(whole("0", 1..=100).is_err() && whole("101", 1..=100).is_err() && whole("x", 1..=100).is_err());
    }
}
