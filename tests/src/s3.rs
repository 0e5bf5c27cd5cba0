//! A real server that speaks S3, with a bucket in it: moto's, in memory.

use std::path::Path;

use reqwest::Client;

use crate::port::Port;
use crate::process::{Process, Recipe};
use crate::wait::{PATIENCE, eventually};

/// A bucket of its own. It is gone with its server when this is dropped.
#[derive(Debug)]
pub struct Bucket {
    _server: Process,
    port: Port,
}

impl Bucket {
    /// Starts the server and makes the bucket.
    ///
    /// # Panics
    /// When it does not answer, or the packages are not there: `tests/run.sh` gets them.
    pub async fn start(dir: &Path) -> Self {
        let packages = std::env::var("CLOUDAI_TEST_PYTHON").expect("run ./tests/run.sh");
        let port = Port::take();
        let number = port.number.to_string();
        let args = ["-m", "moto.server", "-H", "127.0.0.1", "-p", &number].map(str::to_owned).into();
        let env = vec![("PYTHONPATH".to_owned(), packages)];
        let recipe = Recipe { name: "s3".to_owned(), program: "python3".into(), args, env, dir: dir.to_owned() };
        let bucket = Self { _server: Process::start(recipe), port };
        let client = Client::builder().no_proxy().build().expect("an HTTP client");
        eventually(PATIENCE, "the bucket is there", || async {
            let made = client.put(format!("{}/cloudai", bucket.endpoint())).send().await;
            made.ok().filter(|answer| answer.status().is_success())
        })
        .await;
        bucket
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// What a master that uses it is started with.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        [
            ("CLOUDAI_FILES_STORE", "s3".to_owned()),
            ("CLOUDAI_FILES_S3_BUCKET", "cloudai".to_owned()),
            ("CLOUDAI_FILES_S3_PREFIX", "of/this/cluster".to_owned()),
            ("CLOUDAI_FILES_S3_ENDPOINT", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", "somebody".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "something".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
