//! GPUs that are not there: a library that tells of them, as NVIDIA's would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library, in a directory of its own. What it tells can change while a worker has it open.
#[derive(Debug)]
pub struct FakeGpus {
    dir: tempfile::TempDir,
    told: String,
}

impl FakeGpus {
    /// One that tells `state`, in the language of `fake_nvml.c`.
    ///
    /// # Panics
    /// There is no C compiler.
    #[must_use]
    pub fn new(state: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cloudaid/src/worker/gpu/fake_nvml.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-std=c11", "-O1", "-shared", "-fPIC", "-pthread"]).arg(source);
        let compiled = compiler.arg("-o").arg(dir.path().join("libnvidia-ml.so.1")).arg("-ldl").status();
        assert!(compiled.expect("a C compiler").success(), "the library cannot be compiled");
        let mut gpus = Self { dir, told: String::new() };
        gpus.tell(state);
        gpus
    }

    /// The library's file.
    #[must_use]
    pub fn library(&self) -> PathBuf {
        self.dir.path().join("libnvidia-ml.so.1")
    }

    /// Tells more.
    ///
    /// # Panics
    /// The disk is full.
    pub fn tell(&mut self, more: &str) {
        self.told.push_str(more);
        fs::write(self.dir.path().join("nvml.state"), &self.told).expect("written");
    }
}
