//! Golden scripts: shell lines with `cloudctl`, and what each must answer.
//!
//! A script is a text file. `$ ` begins a line to run; below it stand its standard output (`> `), its standard error
//! (`! `) and its exit code if that is not 0 (`? 3`). Everything else is for the reader. What differs from run to run
//! has a name instead: see [`names`]. With `UPDATE_GOLDEN=1` the answers are written into the script instead of
//! compared.

pub mod names;
pub mod script;

use std::fs;
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::docker;
use crate::master::MasterOptions;
use crate::worker::WorkerOptions;
use names::Names;
use script::{Item, Script};

/// Runs `tests/scripts/NAME.txt` on a fresh cluster.
///
/// # Panics
/// When an answer is not the expected one.
pub async fn check(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts").join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut script = Script::parse(&text);
    let differences = play(&mut script).await;
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, script.to_string()).expect("the script is written");
        return;
    }
    assert!(
        differences.is_empty(),
        "{} differs from what cloudctl does (UPDATE_GOLDEN=1 takes that over):\n{}",
        path.display(),
        differences.join("\n")
    );
}

/// Runs all lines and puts the answers in; returns what was different.
async fn play(script: &mut Script) -> Vec<String> {
    let advertise = ["--advertise", "worker.example"].map(str::to_owned).to_vec();
    let of_worker = WorkerOptions { args: advertise, ..WorkerOptions::default() };
    let cluster = Cluster::start_with(&MasterOptions::default(), script.workers(), &of_worker).await;
    let ctl = cluster.ctl();
    let mut names = Names::default();
    names.add("HTTP", cluster.master.url().trim_start_matches("http://"));
    names.add("GRPC", &cluster.master.grpc_address());
    names.add("DIR", &ctl.dir().display().to_string());
    names.add("IMAGE", &docker::image());
    names.add("CLUSTER", &cluster.api().status().await.expect("the status of the cluster").cluster_id);

    let mut differences = Vec::new();
    for item in &mut script.items {
        let Item::Step { line, answer } = item else { continue };
        let output = ctl.shell(&names.restore(line)).await;
        let found = script::answer(&names.hide(&output.stdout), &names.hide(&output.stderr), output.code);
        if found != *answer {
            differences.push(format!("$ {line}\nexpected:\n{}\nfound:\n{}\n", answer.join("\n"), found.join("\n")));
            *answer = found;
        }
    }
    differences
}
