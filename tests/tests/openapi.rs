//! The API keeps to its own specification, whatever is sent to it: schemathesis makes the calls.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Stdio;

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::ADMIN;
use cloudai_tests::python::python;
use cloudai_tests::wait::PATIENCE;
use serde_json::json;
use shared::role::Role;
use shared::view::NewTokenView;

/// What must hold of every answer: no fault of ours, nothing that is not written down, and nobody gets in without a token.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,negative_data_rejection,\
                      missing_required_header,unsupported_method,allow_header_conformance,ignored_auth";
/// What would end the run for those that come after it; each has a run of its own.
const LAST: &str = "^/api/(shutdown|auth/(logout|password|rotate-keys|refresh))$";

struct Run<'a> {
    cluster: &'a Cluster,
    directory: &'a Path,
    number: usize,
}

impl Run<'_> {
    /// Calls what `filter` leaves as the holder of `token`. `values` stand for parameters of these names. One at a time:
    /// with two, Python 3.11 fails in its own compiler now and then.
    async fn call(&mut self, what: &str, token: &str, filter: &[&str], values: &[(&str, &str)]) {
        self.number += 1;
        let directory = self.directory.join(self.number.to_string());
        std::fs::create_dir_all(&directory).expect("a directory");
        let values: Vec<_> = values.iter().map(|(name, value)| format!("{name:?} = {value:?}")).collect();
        std::fs::write(directory.join("schemathesis.toml"), format!("[parameters]\n{}\n", values.join("\n")))
            .expect("a configuration");
        let mut command = python();
        command.args(["-m", "schemathesis.cli", "run", &format!("{}/api/openapi.json", self.cluster.master.url())]);
        command.args(["--checks", CHECKS, "--seed", "7", "--max-examples", "15", "--workers", "1", "--no-color"]);
        command.args(["--continue-on-failure", "--output-sanitize", "false"]).args(filter);
        if !token.is_empty() {
            command.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        command.current_dir(&directory).stdin(Stdio::null());
        let output = command.output().await.expect("python3");
        let text = String::from_utf8_lossy(&output.stdout);
        let summary: Vec<_> =
            text.lines().filter(|line| line.contains("generated") || line.contains("selected")).collect();
        println!("{what}: {}", summary.join("; "));
        assert!(output.status.success(), "{what}:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn the_api_keeps_to_its_specification() {
    let cluster = Cluster::start(1).await;
    let admin = cluster.api();
    let task = admin.submit(&shell_task("echo line; echo x > /output/file")).await.expect("accepted").task_id;
    admin.ended(PATIENCE, &task).await;
    // Before so many wrong passwords are tried that no login is let in for a minute. A personal token outlives what is done
    // to logins and keys.
    let (reader, logged_in) = (admin.somebody("reader", Role::ReadOnly).await, admin.log_in(ADMIN).await.token);
    let token: NewTokenView = admin.post("/api/tokens", &json!({"name": "schemathesis"})).await.expect("a token");
    let token = token.token;
    let directory = tempfile::tempdir().expect("a directory");
    let mut run = Run { cluster: &cluster, directory: directory.path(), number: 0 };
    let all = ["--exclude-path-regex", LAST];
    run.call("as an admin", &token, &all, &[]).await;
    let known = [("path.id", task.as_str()), ("path.path", "file"), ("path.name", "reader")];
    let looks = ["--exclude-path-regex", LAST, "--include-method", "GET"];
    run.call("as an admin, about a task that is there", &token, &looks, &known).await;
    run.call("as somebody who may only look", reader.token(), &all, &[]).await;
    run.call("as nobody", "", &all, &[]).await;
    for (path, token) in [
        ("/api/auth/password", &token),
        ("/api/auth/refresh", &token),
        ("/api/auth/logout", &token),
        ("/api/auth/logout", &logged_in),
        ("/api/auth/rotate-keys", &token),
    ] {
        run.call(path, token, &["--include-path", path], &[]).await;
    }
    let shutdown = ["--include-path", "/api/shutdown", "--mode", "negative"];
    run.call("/api/shutdown, with what it refuses", &token, &shutdown, &[]).await;
}
