//! Which GPUs are ill, and why.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::gpu::{Gpu, IllGpu};
use shared::time::BootTime;

use super::nvml::Xid;
use super::records::Reported;

/// A GPU that has reported an error gets no work for a while, and no longer: one that is left out until somebody thinks of
/// it is a GPU less. One that looks broken gets none for as long as it does.
#[derive(Debug)]
pub(super) struct Wards {
    gpus: Vec<Gpu>,
    quarantine: Duration,
    reported: Reported,
    /// Why each looks broken.
    broken: BTreeMap<String, String>,
    /// An error of which nobody has said whose it is.
    unnamed: Option<String>,
}

impl Wards {
    /// Of which `reported` was reported before.
    pub(super) fn new(gpus: Vec<Gpu>, quarantine: Duration, reported: Reported) -> Self {
        Self { gpus, quarantine, reported, broken: BTreeMap::new(), unnamed: None }
    }

    /// A GPU reports an error. It is that of all its slices. Returns false if they have to be looked at to know whose it is.
    pub(super) fn reported(&mut self, now: BootTime, xid: &Xid) -> bool {
        match &xid.uuid {
            _ if !xid.is_of_gpu() => true,
            None => {
                self.unnamed = Some(xid.describe());
                false
            }
            Some(uuid) => {
                let is_meant = |gpu: &&Gpu| gpu.uuid == *uuid || gpu.parent.as_ref() == Some(uuid);
                let meant = self.gpus.iter().filter(is_meant).map(|gpu| (gpu.uuid.clone(), (xid.describe(), now)));
                self.reported.extend(meant);
                true
            }
        }
    }

    /// They were looked at. One that looks broken has reported what nobody has said whose it is; where none does, it may be
    /// any.
    pub(super) fn probed(&mut self, now: BootTime, probed: Vec<(String, Result<(), String>)>) {
        for (uuid, looks) in probed {
            match looks {
                Ok(()) => self.broken.remove(&uuid),
                Err(reason) => self.broken.insert(uuid, reason),
            };
        }
        if let Some(reason) = self.unnamed.take().filter(|_| self.broken.is_empty()) {
            self.reported.extend(self.gpus.iter().map(|gpu| (gpu.uuid.clone(), (reason.clone(), now))));
        }
    }

    /// What was reported, and is not over.
    pub(super) fn reports(&self) -> &Reported {
        &self.reported
    }

    /// Those that should get no work now.
    pub(super) fn ill(&mut self, now: BootTime) -> Vec<IllGpu> {
        let quarantine = self.quarantine;
        self.reported.retain(|_, (_, at)| now < *at + quarantine);
        let reason = |uuid: &String| self.broken.get(uuid).or_else(|| Some(&self.reported.get(uuid)?.0)).cloned();
        let ill =
            self.gpus.iter().filter_map(|gpu| Some(IllGpu { uuid: gpu.uuid.clone(), reason: reason(&gpu.uuid)? }));
        ill.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARANTINE: Duration = Duration::from_secs(600);

    fn wards() -> Wards {
        let gpu = |uuid: &str, parent: Option<&str>| Gpu {
            uuid: uuid.to_owned(),
            name: "H".to_owned(),
            millis: 1000,
            memory_bytes: 1,
            parent: parent.map(str::to_owned),
        };
        let gpus = vec![gpu("a", None), gpu("m1", Some("b")), gpu("m2", Some("b"))];
        Wards::new(gpus, QUARANTINE, Reported::new())
    }

    fn ill(wards: &mut Wards, seconds: u64) -> Vec<String> {
        wards.ill(BootTime(seconds * 1000)).into_iter().map(|ill| ill.uuid).collect()
    }

    fn xid(uuid: Option<&str>, code: u64) -> Xid {
        Xid { uuid: uuid.map(str::to_owned), code }
    }

    #[test]
    fn an_error_is_that_of_all_slices_and_over_after_a_while() {
        let mut wards = wards();
        wards.reported(BootTime(0), &xid(Some("b"), 79));
        assert_eq!(ill(&mut wards, 0), ["m1", "m2"]);
        wards.reported(BootTime(300_000), &xid(Some("a"), 48));
        assert_eq!(ill(&mut wards, 599), ["a", "m1", "m2"]);
        assert_eq!(ill(&mut wards, 600), ["a"]);
    }

    #[test]
    fn an_error_that_names_no_gpu_is_that_of_the_one_that_looks_broken() {
        let mut wards = wards();
        let broken = |uuid: &str| vec![(uuid.to_owned(), Err("it does not answer".to_owned()))];
        for _ in 0..2 {
            assert!(!wards.reported(BootTime(0), &xid(None, 79)));
            wards.probed(BootTime(0), broken("a"));
            assert_eq!(ill(&mut wards, 0), ["a"], "one that is lost says more than once that it is");
        }
        wards.probed(BootTime(0), vec![("a".to_owned(), Ok(()))]);
        assert!(!wards.reported(BootTime(0), &xid(None, 79)));
        wards.probed(BootTime(0), vec![]);
        assert_eq!(ill(&mut wards, 0), ["a", "m1", "m2"], "it may be any");
    }

    #[test]
    fn an_error_of_a_program_is_none_of_the_gpu() {
        let mut wards = wards();
        wards.reported(BootTime(0), &xid(Some("a"), 13));
        wards.reported(BootTime(0), &xid(Some("elsewhere"), 79));
        assert_eq!(ill(&mut wards, 0), [""; 0]);
    }

    #[test]
    fn what_looks_broken_is_until_it_does_not() {
        let mut wards = wards();
        let broken = vec![("a".to_owned(), Err("it does not answer".to_owned())), ("m1".to_owned(), Ok(()))];
        wards.probed(BootTime(0), broken);
        let seen = wards.ill(BootTime(0));
        assert_eq!(seen, [IllGpu { uuid: "a".to_owned(), reason: "it does not answer".to_owned() }]);
        assert_eq!(ill(&mut wards, 9_999), ["a"]);
        wards.probed(BootTime(0), vec![("a".to_owned(), Ok(()))]);
        assert_eq!(ill(&mut wards, 9_999), [""; 0]);
    }
}
