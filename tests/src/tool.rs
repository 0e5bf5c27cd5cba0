//! `cloudaid store` as a person calls it.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::process::{Process, Recipe, program};

/// How it ended.
#[derive(Debug)]
pub struct Done {
    /// The exit code.
    pub code: i32,
    /// What it printed, stdout and stderr.
    pub text: String,
}

impl Done {
    /// What it printed as JSON.
    ///
    /// # Panics
    /// When that is no such JSON.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }
}

/// The recipe of a tool on the stores in `data_dir` and at `uri`; its log is written to `dir`.
#[must_use]
pub fn recipe(dir: &Path, args: &[&str], data_dir: &Path, uri: Option<&str>) -> Recipe {
    let mut all: Vec<String> = ["store"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
    all.extend(["--data-dir".to_owned(), data_dir.display().to_string()]);
    let env = uri.map(|uri| ("MONGODB_URI".to_owned(), uri.to_owned())).into_iter().collect();
    let name = format!("tool-{:016x}", rand::random::<u64>());
    Recipe { name, program: program("cloudaid"), args: all, env, dir: dir.to_owned() }
}

/// Runs it to its end.
pub async fn run(dir: &Path, args: &[&str], data_dir: &Path, uri: Option<&str>) -> Done {
    let mut process = Process::start(recipe(dir, args, data_dir, uri));
    let status = process.ended().await;
    Done { code: status.code().unwrap_or(-1), text: process.log() }
}
