//! TLS of the admin API: on by default beyond this machine, with the built-in authority's certificate or the operator's.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use cloudai_tests::ctl::Ctl;
use cloudai_tests::port::Port;
use cloudai_tests::process::{Process, Recipe, program};
use cloudai_tests::wait::{PATIENCE, eventually};
use rcgen::{CertificateParams, KeyPair};
use shared::tls::Fingerprint;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A master that listens on all addresses.
struct Open {
    process: Process,
    http: Port,
    dir: TempDir,
}

impl Open {
    async fn start(args: &[&str]) -> Self {
        let (http, dir) = (Port::take(), tempfile::tempdir().expect("a directory"));
        Self::start_in(dir, http, args).await
    }

    async fn start_in(dir: TempDir, http: Port, args: &[&str]) -> Self {
        let port = http.address().rsplit_once(':').expect("a port").1.to_owned();
        let data = dir.path().join("data").display().to_string();
        let all = ["master", "--data-dir", &data, "--http", &format!("0.0.0.0:{port}"), "--grpc", "127.0.0.1:0"];
        let args = all.iter().chain(args).map(ToString::to_string).collect();
        let (name, program, env) = ("master".to_owned(), program("cloudaid"), Vec::new());
        let process = Process::start(Recipe { name, program, args, env, dir: dir.path().to_owned() });
        let master = Self { process, http, dir };
        master.says("HTTP API listening").await;
        master
    }

    async fn says(&self, what: &str) -> String {
        eventually(PATIENCE, what, || async {
            self.process.log().lines().find(|line| line.contains(what)).map(str::to_owned)
        })
        .await
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// What the log says, last of all.
    fn fingerprint(&self) -> String {
        let log = self.process.log();
        let line = log.lines().rfind(|line| line.contains("Certificate fingerprint: ")).expect("it is in the log");
        line.rsplit_once(' ').expect("words").1.to_owned()
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.http.address())
    }

    async fn log_in(&self, ctl: &Ctl, more: &str) -> cloudai_tests::ctl::Output {
        let setup = self.data().join("setup.token");
        let line = format!(
            "echo 'correct horse battery' | cloudctl login --server {} --username admin --password-stdin \
             --setup-token-file {} {more}",
            self.url("https"),
            setup.display()
        );
        ctl.shell(&line).await
    }
}

#[tokio::test]
async fn beyond_this_machine_nothing_is_said_in_plaintext_and_nobody_is_believed_unseen() {
    let master = Open::start(&[]).await;
    let ctl = Ctl::new(master.dir.path().join("ctl"), String::new(), String::new());
    let fingerprint = master.fingerprint();
    let unseen = master.log_in(&ctl, "").await;
    assert_eq!(unseen.code, 76, "{unseen:?}");
    assert!(unseen.stderr.contains(&fingerprint), "what it is known by is shown: {unseen:?}");
    let wrong = Fingerprint([7; 32]).to_string();
    let wrong = master.log_in(&ctl, &format!("--fingerprint {wrong}")).await;
    assert_eq!(wrong.code, 76, "{wrong:?}");
    assert!(!master.process.log().contains("/api/auth/"), "nothing was sent");
    master.log_in(&ctl, &format!("--fingerprint {fingerprint}")).await.ok();
    assert!(ctl.shell("cloudctl status").await.ok().contains("0"), "the context remembers it");

    // What a program says that speaks plaintext is not even read.
    let mut stream = TcpStream::connect(master.http.address()).await.expect("connect");
    stream.write_all(b"GET /api/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
}

#[tokio::test]
async fn plaintext_has_to_be_asked_for_and_is_announced() {
    let master = Open::start(&["--plaintext"]).await;
    let said = master.says("without encryption").await;
    assert!(said.contains("WARN") && said.contains("passwords"), "{said}");
    let ready = reqwest::get(format!("{}/health/ready", master.url("http"))).await.expect("an answer");
    assert!(ready.status().is_success());
}

fn write_own(directory: &Path) -> (String, Fingerprint) {
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).expect("names").self_signed(&key).expect("signed");
    std::fs::write(directory.join("own.pem"), certificate.pem()).expect("written");
    std::fs::write(directory.join("own.key"), key.serialize_pem()).expect("written");
    (certificate.pem(), Fingerprint::of(certificate.der()))
}

#[tokio::test]
async fn the_operators_certificate_is_taken_over_while_the_master_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let (pem, first) = write_own(dir.path());
    let [certificate, key] = ["own.pem", "own.key"].map(|file| dir.path().join(file).display().to_string());
    let master = Open::start_in(dir, Port::take(), &["--tls-cert", &certificate, "--tls-key", &key]).await;
    assert_eq!(master.fingerprint(), first.to_string());
    let ctl = Ctl::new(master.dir.path().join("ctl"), String::new(), String::new());
    let authorities = master.dir.path().join("authorities.pem");
    std::fs::write(&authorities, pem).expect("written");
    master.log_in(&ctl, &format!("--ca {}", authorities.display())).await.ok();
    ctl.shell("cloudctl status").await.ok();

    let (_, second) = write_own(master.dir.path());
    master.says(&second.to_string()).await;
    let refused = ctl.shell("cloudctl status").await;
    assert_eq!(refused.code, 76, "another certificate is another server: {refused:?}");
    let again = format!(
        "echo 'correct horse battery' | cloudctl login --server {} --username admin --password-stdin --fingerprint {second}",
        master.url("https")
    );
    ctl.shell(&again).await.ok();
    ctl.shell("cloudctl status").await.ok();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_found_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    write_own(dir.path());
    std::fs::write(dir.path().join("own.key"), "nonsense").expect("written");
    let output = std::process::Command::new(program("cloudaid"))
        .args(["master", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path().join("data"))
        .arg("--tls-cert")
        .arg(dir.path().join("own.pem"))
        .arg("--tls-key")
        .arg(dir.path().join("own.key"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("own.key") && said.contains("hint:"), "{said}");
}
