//! Whom `cloudctl` trusts, and with whom it goes together: the program itself against servers with TLS, with what they get to see.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod ctl;
mod server;
mod skew;

use ctl::{Ctl, Said};
use server::{Chain, Server};

const PASSWORD: &str = "correct horse battery";
/// The exit code of a server that is not trusted.
const UNTRUSTED: i32 = 76;

/// Nothing but handshakes and what anybody may ask.
fn assert_told_nothing(server: &Server) {
    let seen = server.seen();
    assert!(!seen.contains("horse") && !seen.contains("Bearer"), "{seen}");
}

#[test]
fn a_server_is_trusted_by_the_fingerprint_of_its_authority_or_its_own() {
    let server = Server::tls(&Chain::new(&["localhost", "master.cloudai.internal"]));
    for pin in [server.root(), server.leaf()] {
        let ctl = Ctl::new();
        let said = ctl.login(&server.url("127.0.0.1"), &["--fingerprint", &pin], PASSWORD);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(ctl.contexts().contains(&format!("fingerprint = \"{pin}\"")), "{}", ctl.contexts());
        // From now on the context says it.
        assert_eq!(ctl.run(&["whoami", "-q"]).out, "ann\n");
        let url = server.url("127.0.0.1");
        let own = ctl.with_env("CLOUDCTL_SERVER", &url).with_env("CLOUDCTL_TOKEN", "t").run(&["whoami", "-q"]);
        assert_eq!(own.out, "ann\n", "with a token of one's own it does as well: {own:?}");
        let shown = ctl.run(&["context", "show"]);
        assert!(shown.out.contains(&pin), "{shown:?}");
    }
    assert!(server.seen().contains("horse"));
}

#[test]
fn a_server_is_trusted_by_an_authority_in_a_file_which_may_go_away() {
    let server = Server::tls(&Chain::new(&["localhost"]));
    let ctl = Ctl::new();
    let file = ctl.write("ca.pem", &server.chain.root_pem);
    let said = ctl.login(&server.url("localhost"), &["--ca", &file], PASSWORD);
    assert_eq!(said.code, 0, "{said:?}");
    std::fs::remove_file(file).expect("removed");
    assert_eq!(ctl.run(&["whoami", "-q"]).out, "ann\n");
    // An authority vouches for names, and not for whoever has one of its certificates.
    let elsewhere = ctl.run(&["--server", &server.url("127.0.0.1"), "status"]);
    assert_eq!(elsewhere.code, UNTRUSTED, "{elsewhere:?}");
    let other = Server::tls(&Chain::new(&["localhost"]));
    let wrong = ctl.write("other.pem", &other.chain.root_pem);
    let said = ctl.login(&server.url("localhost"), &["--ca", &wrong], PASSWORD);
    assert_eq!(said.code, UNTRUSTED, "{said:?}");
}

#[test]
fn where_nobody_can_be_asked_an_unknown_server_is_refused_with_its_fingerprint() {
    let server = Server::tls(&Chain::new(&["localhost"]));
    let ctl = Ctl::new();
    let said = ctl.login(&server.url("localhost"), &[], PASSWORD);
    assert_eq!(said.code, UNTRUSTED, "{said:?}");
    assert!(said.err.contains("is not trusted") && said.err.contains("Certificate fingerprint"), "{said:?}");
    assert!(said.err.contains(&format!("--fingerprint {}", server.root())), "{said:?}");
    assert_told_nothing(&server);
    assert!(ctl.contexts().is_empty(), "{}", ctl.contexts());
    // Nor does any other call tell it the token.
    let said = ctl.with_env("CLOUDCTL_TOKEN", "secret").run(&["--server", &server.url("localhost"), "status"]);
    assert_eq!(said.code, UNTRUSTED, "{said:?}");
    assert!(said.err.contains("cloudctl login --server"), "{said:?}");
    assert_told_nothing(&server);
}

#[test]
fn a_person_is_asked_and_the_password_only_after_that() {
    let server = Server::tls(&Chain::new(&["localhost"]));
    let ctl = Ctl::new();
    let mut terminal = ctl.terminal(&format!("login --server {} --username ann", server.url("localhost")));
    let screen = terminal.until("Trust it? [y/N]");
    assert!(screen.contains(&server.root()) && !screen.contains("Password"), "{screen}");
    assert_told_nothing(&server);
    terminal.enter("y");
    terminal.until("Password:");
    assert_told_nothing(&server);
    terminal.enter(PASSWORD);
    terminal.until("Logged in");
    assert!(ctl.contexts().contains(&server.root()), "{}", ctl.contexts());
    assert_eq!(ctl.run(&["whoami", "-q"]).out, "ann\n");

    let ctl = Ctl::new();
    let mut terminal = ctl.terminal(&format!("login --server {} --username ann", server.url("localhost")));
    terminal.until("Trust it? [y/N]");
    terminal.enter("");
    terminal.until("not confirmed");
    assert!(ctl.contexts().is_empty(), "{}", ctl.contexts());
}

#[test]
fn another_certificate_than_before_is_told_with_both_fingerprints() {
    let before = Server::tls(&Chain::new(&["localhost"]));
    let ctl = Ctl::new();
    assert_eq!(ctl.login(&before.url("localhost"), &["--fingerprint", &before.root()], PASSWORD).code, 0);
    let (url, old) = (before.url("localhost"), before.root());
    let after = before.replaced_by(&Chain::new(&["localhost"]));
    let new = after.root();
    for said in [ctl.run(&["whoami"]), ctl.run(&["monitor", "task-01arz3ndektsv4rrffq69g5fav"])] {
        assert_eq!(said.code, UNTRUSTED, "{said:?}");
        assert!(said.err.contains(&old) && said.err.contains("in between"), "{said:?}");
        assert!(said.err.contains(&format!("cloudctl login --server {url} --fingerprint {new}")), "{said:?}");
    }
    // Logging in again is no way around it, unless its fingerprint is given.
    assert_eq!(ctl.login(&url, &[], PASSWORD).code, UNTRUSTED);
    assert_told_nothing(&after);
    assert_eq!(ctl.login(&url, &["--fingerprint", &new], PASSWORD).code, 0);
    assert_eq!(ctl.run(&["whoami", "-q"]).out, "ann\n");
}

#[test]
fn whoever_shows_the_right_authority_without_its_word_is_not_trusted() {
    let (ours, other) = (Chain::new(&["localhost"]), Chain::new(&["localhost"]));
    let liar = Server::tls(&Chain { root: ours.root, ..other });
    let ctl = Ctl::new();
    let said = ctl.login(&liar.url("localhost"), &["--fingerprint", &liar.root()], PASSWORD);
    assert_eq!(said.code, UNTRUSTED, "{said:?}");
    assert_told_nothing(&liar);
}

#[test]
fn the_wrong_scheme_is_named_and_the_right_one() {
    let (secure, plain) = (Server::tls(&Chain::new(&["localhost"])), Server::plaintext());
    let ctl = Ctl::new();
    let pin = secure.root();
    let said = ctl.login(&plain.url("localhost").replace("http:", "https:"), &["--fingerprint", &pin], PASSWORD);
    assert_eq!(said.code, UNTRUSTED, "{said:?}");
    assert!(said.err.contains("answers in plaintext") && said.err.contains(&plain.url("localhost")), "{said:?}");
    assert_told_nothing(&plain);
    let said = ctl.login(&secure.url("localhost").replace("https:", "http:"), &[], PASSWORD);
    assert_eq!(said.code, UNTRUSTED, "{said:?}");
    assert!(said.err.contains("may want TLS") && said.err.contains(&secure.url("localhost")), "{said:?}");
}

#[test]
fn a_fresh_login_and_a_logout_leave_trust_as_it_is() {
    let server = Server::tls(&Chain::new(&["localhost"]));
    let ctl = Ctl::new();
    assert_eq!(ctl.login(&server.url("localhost"), &["--fingerprint", &server.root()], PASSWORD).code, 0);
    assert_eq!(ctl.run(&["logout"]).code, 0);
    assert!(ctl.contexts().contains(&server.root()) && !ctl.contexts().contains("token"), "{}", ctl.contexts());
    assert_eq!(ctl.login(&server.url("localhost"), &[], PASSWORD).code, 0);
    assert!(ctl.contexts().contains(&server.root()), "{}", ctl.contexts());
}

#[test]
fn trust_is_said_by_variables_too_and_a_flag_wins() {
    let server = Server::tls(&Chain::new(&["localhost"]));
    let ctl = Ctl::new().with_env("CLOUDCTL_SERVER", &server.url("localhost")).with_env("CLOUDCTL_TOKEN", "t");
    let pin = server.root();
    let pinned = ctl.with_env("CLOUDCTL_FINGERPRINT", &pin);
    assert_eq!(pinned.run(&["whoami", "-q"]).out, "ann\n");
    let wrong = ctl.with_env("CLOUDCTL_CA", "nowhere.pem");
    assert_eq!(wrong.run(&["whoami", "-q"]).code, 66);
    let Said { code, out, err } = wrong.run(&["whoami", "-q", "--fingerprint", &pin]);
    assert_eq!((code, out.as_str()), (0, "ann\n"), "{err}");
    let both = ctl.run(&["whoami", "--fingerprint", &pin, "--ca", "x.pem"]);
    assert_eq!(both.code, 2, "{both:?}");
}
