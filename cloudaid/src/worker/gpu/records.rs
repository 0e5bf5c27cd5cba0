//! What GPUs have reported, over restarts of the worker: an error of the hardware does not end with it, but with a boot of
//! the host, or after a while.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use shared::time::BootTime;

use crate::clock;
use crate::worker::data_dir::replace;

/// The last error of each, by UUID, and when it was reported.
pub(super) type Reported = BTreeMap<String, (String, BootTime)>;

/// The file that they are kept in.
#[derive(Debug, Clone)]
pub(super) struct Records(PathBuf);

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    boot_id: String,
    reported: Reported,
}

impl Records {
    pub(super) fn in_file(path: PathBuf) -> Self {
        Self(path)
    }

    /// What was reported since the host booted. What cannot be read is as if nothing was: it is reported again, if it still
    /// is so.
    pub(super) fn load(&self) -> Reported {
        let kept = match fs::read(&self.0) {
            Ok(content) => serde_json::from_slice::<Kept>(&content).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Reported::new(),
            Err(error) => Err(error),
        };
        let kept = kept.and_then(|kept| Ok((clock::boot_id()? == kept.boot_id).then_some(kept.reported)));
        kept.unwrap_or_else(|error| {
            tracing::warn!(%error, "{} cannot be read: what GPUs have reported before is not known", self.0.display());
            None
        })
        .unwrap_or_default()
    }

    /// Keeps it. Waits for the disk.
    pub(super) fn save(&self, reported: Reported) {
        let saved =
            clock::boot_id().and_then(|boot_id| replace(&self.0, &serde_json::to_vec(&Kept { boot_id, reported })?));
        if let Err(error) = saved {
            tracing::warn!(%error, "{} cannot be written: what GPUs have reported is not known after a restart", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reported_is_known_until_the_host_boots() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("gpus.json");
        let records = Records::in_file(path.clone());
        assert_eq!(records.load(), Reported::new());
        let reported = Reported::from([("GPU-a".to_owned(), ("Xid 79".to_owned(), BootTime(7)))]);
        records.save(reported.clone());
        assert_eq!(records.load(), reported);
        let of_another = fs::read_to_string(&path).expect("a file").replace(&clock::boot_id().expect("an id"), "other");
        fs::write(&path, of_another).expect("written");
        assert_eq!(records.load(), Reported::new());
        fs::write(&path, "{").expect("written");
        assert_eq!(records.load(), Reported::new());
    }
}
