//! What the person who starts `cloudaid dev` reads once it is ready.

use std::fmt::Write;
use std::path::Path;

use super::context::{NAME, Written};
use crate::address::dialled;
use crate::master::Started;

/// The URL by which this machine reaches the admin API.
pub(super) fn url(started: &Started) -> String {
    let scheme = if started.fingerprint.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", dialled(started.http))
}

/// Addresses, places, and what to try next.
pub(super) fn message(started: &Started, data_dir: &Path, written: &Written) -> String {
    let server = url(started);
    let mut text = String::from("\nCloudAI is ready.\n\n");
    // Writing into a String cannot fail.
    let _ = writeln!(text, "  Admin API   {server}");
    let _ = writeln!(text, "  Workers     {} (more of them: `cloudctl worker-token create`)", started.grpc);
    let _ = writeln!(text, "  Data        {}", data_dir.display());
    let context = match written {
        Written::To { file, current } => {
            let _ = writeln!(text, "  Context     `{NAME}` in {}", file.display());
            if *current { String::new() } else { format!(" --context {NAME}") }
        }
        Written::Nothing => {
            let _ = writeln!(text, "\nFirst log in:\n\n  cloudctl login {server}");
            String::new()
        }
    };
    let _ = writeln!(text, "\nTry in another terminal:\n");
    let _ = writeln!(text, "  cloudctl{context} status");
    let _ = writeln!(text, "  cloudctl{context} task docker.io/library/alpine --wait -- echo hello");
    text.push_str("\nCtrl-C stops it in good order. The data stays.\n\n");
    text
}

#[cfg(test)]
mod tests {
    use shared::tls::Fingerprint;

    use super::*;

    fn started() -> Started {
        Started {
            http: "0.0.0.0:8080".parse().expect("an address"),
            grpc: "127.0.0.1:50051".parse().expect("an address"),
            join_token: None,
            fingerprint: None,
            setup_token_file: None,
            admin: None,
        }
    }

    #[test]
    fn the_message_in_full() {
        let written = Written::To { file: "/c/contexts.toml".into(), current: true };
        let expected = "
CloudAI is ready.

  Admin API   http://127.0.0.1:8080
  Workers     127.0.0.1:50051 (more of them: `cloudctl worker-token create`)
  Data        /d
  Context     `dev` in /c/contexts.toml

Try in another terminal:

  cloudctl status
  cloudctl task docker.io/library/alpine --wait -- echo hello

Ctrl-C stops it in good order. The data stays.

";
        assert_eq!(message(&started(), Path::new("/d"), &written), expected);
    }

    #[test]
    fn another_current_context_is_worked_around() {
        let written = Written::To { file: "/c".into(), current: false };
        assert!(message(&started(), Path::new("/d"), &written).contains("cloudctl --context dev status"));
        let text = message(&started(), Path::new("/d"), &Written::Nothing);
        assert!(text.contains("cloudctl login http://127.0.0.1:8080"), "{text}");
    }

    #[test]
    fn what_is_encrypted_is_reached_so() {
        let started = Started { fingerprint: Some(Fingerprint([7; 32])), ..started() };
        let written = Written::To { file: "/c".into(), current: true };
        assert!(message(&started, Path::new("/d"), &written).contains("https://127.0.0.1:8080"));
    }
}
