//! Masters of other versions.

use shared::version::{PRODUCT, Version};

use super::ctl::Ctl;
use super::server::{Chain, Server};
use super::{PASSWORD, assert_told_nothing};

/// The exit code of a master of a version that this `cloudctl` does not go together with.
const SKEW: i32 = 76;

/// So many minor versions newer than this program.
fn newer(by: u32) -> String {
    let Version { major, minor } = Version::OWN;
    format!("{major}.{}.3", minor + by)
}

#[test]
fn a_master_one_minor_version_away_is_as_good_and_one_further_away_gets_no_password() {
    let server = Server::tls(&Chain::new(&["localhost"]));
    let url = server.url("localhost");
    let root = server.root();
    let pin = ["--fingerprint", root.as_str()];
    server.set_version(&newer(2));
    let said = Ctl::new().login(&url, &pin, PASSWORD);
    assert_eq!(said.code, SKEW, "{said:?}");
    let Version { major, minor } = Version::OWN;
    for version in [Version::OWN, Version { major, minor: minor + 2 }] {
        assert!(said.err.contains(&version.to_string()), "{said:?}");
    }
    assert_told_nothing(&server);
    server.set_version(&newer(1));
    let ctl = Ctl::new();
    assert_eq!(ctl.login(&url, &pin, PASSWORD).code, 0);
    assert_eq!(ctl.run(&["whoami", "-q"]).out, "ann\n");
    // It has been updated since.
    server.set_version(&newer(2));
    let said = ctl.run(&["whoami", "-q"]);
    assert_eq!((said.code, said.out.as_str()), (SKEW, ""), "{said:?}");
}

#[test]
fn version_says_whether_the_two_go_together() {
    let server = Server::plaintext();
    let ctl = Ctl::new().with_env("CLOUDCTL_SERVER", &server.url("localhost"));
    let line = ["version", "--format", "{{.version}} {{.server.version}} {{.server.compatible}}"];
    for (theirs, compatible) in [(PRODUCT.to_owned(), true), (newer(1), true), (newer(2), false)] {
        server.set_version(&theirs);
        let said = ctl.run(&line);
        assert_eq!((said.code, said.out), (0, format!("{PRODUCT} {theirs} {compatible}\n")), "{}", said.err);
        assert_eq!(said.err.contains("do not go together"), !compatible, "{}", said.err);
    }
}
