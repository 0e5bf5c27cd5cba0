//! The GPUs of this machine: found one by one where NVIDIA's library is, and out of use while something is wrong with
//! them.

use std::sync::Arc;
use std::time::Duration;

use shared::gpu::{Gpu, IllGpu};
use shared::resources::{Kind, Resources};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::nvml::{Nvml, NvmlFault, Xid};
use self::wards::Wards;
use super::error::WorkerError;
use crate::clock;
use crate::config::GpuSettings;

mod nvml;
mod wards;

/// How often each GPU is looked at.
const PROBE: Duration = Duration::from_secs(5);
/// How long the library waits for an event before it is asked whether the worker still runs.
const EVENT_WAIT: Duration = Duration::from_millis(500);
/// Events that wait to be judged; more than that say nothing new.
const EVENT_LIMIT: usize = 64;

/// The GPUs that this worker offers.
#[derive(Debug, Clone)]
pub(super) struct Gpus {
    /// By UUID. Empty: it has none, or only says how many.
    pub(super) offered: Vec<Gpu>,
    nvml: Option<Arc<Nvml>>,
}

impl Gpus {
    /// Looks for them. `most` is how many thousandths are to be offered; none: all that there are.
    ///
    /// # Errors
    /// The library was named, and cannot be used.
    pub(super) fn find(settings: &GpuSettings, most: Option<u64>) -> Result<Self, WorkerError> {
        let none = Self { offered: Vec::new(), nvml: None };
        if most == Some(0) {
            return Ok(none);
        }
        let (nvml, found) = match Nvml::open(settings.library.as_deref()).and_then(|nvml| {
            let found = nvml.as_ref().map(Nvml::devices).transpose()?.unwrap_or_default();
            Ok((nvml, found))
        }) {
            Ok((Some(nvml), found)) => (nvml, found),
            Ok((None, _)) => return Ok(none),
            Err(fault) if settings.library.is_some() => return Err(WorkerError::Gpus(fault.to_string())),
            Err(fault) => {
                tracing::warn!("GPUs cannot be counted, none is offered: {fault}");
                return Ok(none);
            }
        };
        for gpu in &found {
            tracing::info!("GPU {}: {}, {}", gpu.uuid, gpu.name, Kind::Memory.describe(gpu.memory_bytes));
        }
        Ok(Self { offered: within(found, most), nvml: Some(Arc::new(nvml)) })
    }

    /// What the machine has of them, put into what else it has.
    pub(super) fn in_addition_to(&self, capacity: Resources) -> Resources {
        match self.offered.iter().map(|gpu| gpu.millis).sum() {
            0 => capacity,
            gpu_millis => Resources { gpu_millis, ..capacity },
        }
    }

    /// Who says how busy they are, in percent.
    pub(super) fn gauge(&self) -> impl Fn() -> f64 + Send + 'static {
        let nvml = self.nvml.clone();
        move || nvml.as_ref().and_then(|nvml| nvml.utilisation()).unwrap_or(0.0)
    }

    /// Watches them until `life` ends. What is seen are those that should get no work.
    pub(super) fn watch(&self, quarantine: Duration, life: CancellationToken) -> watch::Receiver<Vec<IllGpu>> {
        let (sender, receiver) = watch::channel(Vec::new());
        let Some(nvml) = self.nvml.clone().filter(|_| !self.offered.is_empty()) else { return receiver };
        let (events, mut news) = mpsc::channel(EVENT_LIMIT);
        let (listener, listens) = (Arc::clone(&nvml), life.clone());
        // A thread of its own: the library waits in a call that cannot be given up.
        std::thread::spawn(move || listen(&listener, &events, &listens));
        let mut wards = Wards::new(self.offered.clone(), quarantine);
        tokio::spawn(life.run_until_cancelled_owned(async move {
            let mut probes = tokio::time::interval(PROBE);
            loop {
                let is_clear = tokio::select! {
                    Some(xid) = news.recv() => wards.reported(clock::boot(), &xid),
                    _ = probes.tick() => false,
                };
                if !is_clear {
                    let (nvml, uuids) = (Arc::clone(&nvml), wards.uuids());
                    let probed = tokio::task::spawn_blocking(move || probe(&nvml, uuids)).await;
                    // It is cancelled only when the process ends.
                    wards.probed(clock::boot(), probed.unwrap_or_default());
                }
                let ill = wards.ill(clock::boot());
                sender.send_if_modified(|known| {
                    note(known, &ill);
                    let is_news = *known != ill;
                    *known = ill;
                    is_news
                });
            }
        }));
        receiver
    }
}

/// As many of them as may be offered. Where that cannot be done with whole devices they are only counted, and the engine
/// picks.
fn within(found: Vec<Gpu>, most: Option<u64>) -> Vec<Gpu> {
    let Some(most) = most else { return found };
    let mut sum = 0;
    let offered: Vec<_> = found
        .into_iter()
        .take_while(|gpu| {
            sum += gpu.millis;
            sum <= most
        })
        .collect();
    if offered.iter().map(|gpu| gpu.millis).sum::<u64>() == most {
        return offered;
    }
    tracing::warn!(
        "{} cannot be offered in whole devices: tasks get as many as they ask for, whichever the engine picks",
        Kind::Gpu.describe(most)
    );
    Vec::new()
}

/// Passes on what the GPUs report, until the worker stops.
fn listen(nvml: &Nvml, events: &mpsc::Sender<Xid>, life: &CancellationToken) {
    while !life.is_cancelled() {
        match listen_once(nvml, events, life) {
            Ok(()) => return,
            // A GPU that is lost may end it for all: the probes find that one, and the others are listened to again.
            Err(fault) => tracing::warn!("Errors of GPUs are not heard for a moment: {fault}"),
        }
        std::thread::sleep(PROBE);
    }
}

fn listen_once(nvml: &Nvml, events: &mpsc::Sender<Xid>, life: &CancellationToken) -> Result<(), NvmlFault> {
    let Some(xids) = nvml.listen()? else { return Ok(()) };
    while !life.is_cancelled() {
        if let Some(xid) = xids.next(EVENT_WAIT)? {
            // Where too many wait, the first ones have said what there is to say.
            let _ = events.try_send(xid);
        }
    }
    Ok(())
}

fn probe(nvml: &Nvml, uuids: Vec<String>) -> Vec<(String, Result<(), String>)> {
    uuids
        .into_iter()
        .map(|uuid| {
            let well = nvml.probe(&uuid);
            (uuid, well)
        })
        .collect()
}

/// What has changed, for the log.
fn note(before: &[IllGpu], after: &[IllGpu]) {
    for ill in after.iter().filter(|ill| !before.contains(ill)) {
        tracing::warn!("GPU {} gets no new tasks: {}", ill.uuid, ill.reason);
    }
    for well in before.iter().filter(|old| after.iter().all(|ill| ill.uuid != old.uuid)) {
        tracing::info!("GPU {} gets tasks again", well.uuid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(millis: &[u64]) -> Vec<Gpu> {
        let gpu = |(number, millis): (usize, &u64)| Gpu {
            uuid: format!("GPU-{number}"),
            name: "H".to_owned(),
            millis: *millis,
            memory_bytes: 1,
            parent: None,
        };
        millis.iter().enumerate().map(gpu).collect()
    }

    #[test]
    fn no_more_are_offered_than_may_be() {
        assert_eq!(within(gpus(&[1000, 1000]), None).len(), 2);
        assert_eq!(within(gpus(&[1000, 1000]), Some(1000)), gpus(&[1000]));
        assert_eq!(within(gpus(&[428, 428, 142]), Some(856)), gpus(&[428, 428]));
        for by_number in [500, 1500, 3000] {
            assert_eq!(within(gpus(&[1000, 1000]), Some(by_number)), [], "{by_number}");
        }
    }

    const STATE: &str = "driver 550.54\ngpu GPU-a 81920 40 H100\ngpu GPU-b 81920 20 H100\n";

    /// Those that are seen to be ill, when that is what was expected.
    async fn sees(ill: &mut watch::Receiver<Vec<IllGpu>>, expected: &[(&str, &str)]) {
        let is_expected = |seen: &Vec<IllGpu>| {
            seen.iter().map(|ill| (ill.uuid.as_str(), ill.reason.as_str())).eq(expected.iter().copied())
        };
        let seen = tokio::time::timeout(Duration::from_secs(60), ill.wait_for(is_expected)).await;
        seen.expect("in time").expect("it is watched");
    }

    #[tokio::test]
    async fn a_gpu_is_ill_while_something_is_wrong_with_it_and_then_not() {
        let scratch = tempfile::tempdir().expect("a directory");
        let library = Some(nvml::tests::fake(scratch.path(), STATE));
        let settings = GpuSettings { library, quarantine: Duration::from_secs(1) };
        let gpus = Gpus::find(&settings, None).expect("they are found");
        assert_eq!(gpus.offered.iter().map(|gpu| gpu.uuid.as_str()).collect::<Vec<_>>(), ["GPU-a", "GPU-b"]);
        assert_eq!(gpus.in_addition_to(Resources::default()).gpu_millis, 2000);
        assert!((gpus.gauge()() - 30.0).abs() < f64::EPSILON);
        let life = CancellationToken::new();
        let mut ill = gpus.watch(settings.quarantine, life.clone());
        let tell = |more: &str| nvml::tests::tell(scratch.path(), &format!("{STATE}{more}"));
        tell("xid GPU-a 48\n");
        sees(&mut ill, &[("GPU-a", "Xid 48: a memory error that could not be corrected")]).await;
        sees(&mut ill, &[]).await;
        tell("xid GPU-a 48\necc GPU-b 3\n");
        sees(&mut ill, &[("GPU-b", "3 memory errors that could not be corrected")]).await;
        tell("xid GPU-a 48\n");
        sees(&mut ill, &[]).await;
        life.cancel();
    }

    #[test]
    fn a_library_that_was_named_must_be_there() {
        let settings = GpuSettings { library: Some("/nowhere/libnvidia-ml.so.1".into()), quarantine: PROBE };
        let error = Gpus::find(&settings, None).expect_err("it is not there");
        assert!(error.to_string().contains("/nowhere/libnvidia-ml.so.1"), "{error}");
        assert_eq!(Gpus::find(&settings, Some(0)).expect("nobody wants one").offered, []);
    }
}
