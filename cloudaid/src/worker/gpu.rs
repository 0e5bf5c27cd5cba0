//! The GPUs of this machine: found one by one where NVIDIA's library is, and out of use while something is wrong with
//! them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared::gpu::{Gpu, IllGpu};
use shared::resources::{Kind, Resources};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use self::nvml::{Nvml, NvmlFault, Xid};
use self::records::Records;
use self::wards::Wards;
use super::error::WorkerError;
use crate::clock;
use crate::config::GpuSettings;

mod nvml;
mod records;
mod wards;

/// How often each GPU is looked at.
const PROBE: Duration = Duration::from_secs(5);
/// How long a driver may take; one that hangs does not say so itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
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

/// What is seen of them.
#[derive(Debug, Clone)]
pub(super) struct GpuWatch {
    /// Those that should get no work.
    pub(super) ill: watch::Receiver<Vec<IllGpu>>,
    /// How busy they are, in percent.
    pub(super) percent: watch::Receiver<f64>,
    /// Whoever wants them looked at now, and to be told when that was done.
    looks: Option<mpsc::Sender<oneshot::Sender<()>>>,
}

impl GpuWatch {
    /// Looks at them now. What is seen is there when this returns, if they answer.
    pub(super) async fn look(&self) {
        let Some(looks) = &self.looks else { return };
        let (asked, seen) = oneshot::channel();
        if looks.send(asked).await.is_ok() {
            // A driver that hangs is noticed by who looks.
            let _ = timeout(PROBE, seen).await;
        }
    }
}

impl Gpus {
    /// None, but for those that the settings count.
    pub(super) fn none() -> Self {
        Self { offered: Vec::new(), nvml: None }
    }

    /// Looks for them. `most` is how many thousandths are to be offered; none: all that there are.
    ///
    /// # Errors
    /// The library was named, and cannot be used.
    pub(super) async fn find(settings: &GpuSettings, most: Option<u64>) -> Result<Self, WorkerError> {
        if most == Some(0) {
            return Ok(Self::none());
        }
        // What runs here already must not wait for a driver that hangs.
        match search(settings.library.clone()).await {
            Ok(Some((nvml, found))) => {
                for gpu in &found {
                    tracing::info!("GPU {}: {}, {}", gpu.uuid, gpu.name, Kind::Memory.describe(gpu.memory_bytes));
                }
                Ok(Self { offered: within(found, most), nvml: Some(Arc::new(nvml)) })
            }
            Ok(None) => Ok(Self::none()),
            Err(problem) if settings.library.is_some() => Err(WorkerError::Gpus(problem)),
            Err(problem) => {
                tracing::warn!("GPUs cannot be counted, none is offered: {problem}");
                Ok(Self::none())
            }
        }
    }

    /// What a worker can give, of which `capacity` is all but the GPUs that are known one by one.
    pub(super) fn in_addition_to(&self, capacity: Resources) -> Resources {
        match self.offered.iter().map(|gpu| gpu.millis).sum() {
            0 => capacity,
            gpu_millis => Resources { gpu_millis, ..capacity },
        }
    }

    /// Watches them until `life` ends; they have been looked at once when this returns. What they report is kept in `file`.
    pub(super) async fn watch(&self, quarantine: Duration, file: PathBuf, life: CancellationToken) -> GpuWatch {
        let (ill, seen) = watch::channel(Vec::new());
        let (busy, percent) = watch::channel(0.0);
        let Some(nvml) = self.nvml.clone().filter(|_| !self.offered.is_empty()) else {
            return GpuWatch { ill: seen, percent, looks: None };
        };
        let (events, mut xids) = mpsc::channel(EVENT_LIMIT);
        let (looks, mut asked) = mpsc::channel::<oneshot::Sender<()>>(EVENT_LIMIT);
        let (listener, listens) = (Arc::clone(&nvml), life.clone());
        // A thread of its own: the library waits in a call that cannot be given up.
        std::thread::spawn(move || listen(&listener, &events, &listens));
        let mut doctor = Doctor { nvml, offered: self.offered.clone(), under_way: None };
        let records = Records::in_file(file);
        let mut kept = records.load();
        let mut wards = Wards::new(self.offered.clone(), quarantine, kept.clone());
        tokio::spawn(life.run_until_cancelled_owned(async move {
            let mut probes = tokio::time::interval(PROBE);
            probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let mut waiting = Vec::new();
                let is_clear = tokio::select! {
                    Some(xid) = xids.recv() => wards.reported(clock::boot(), &xid),
                    Some(first) = asked.recv() => {
                        waiting.push(first);
                        false
                    }
                    _ = probes.tick() => false,
                };
                // All that are asking now are told by one look.
                waiting.extend(std::iter::from_fn(|| asked.try_recv().ok()));
                // An error that was reported before they ask is to be seen too.
                while let Ok(xid) = xids.try_recv() {
                    wards.reported(clock::boot(), &xid);
                }
                if !is_clear || !waiting.is_empty() {
                    let look = doctor.look().await;
                    wards.probed(clock::boot(), look.probed);
                    busy.send_replace(look.percent);
                }
                let now = wards.ill(clock::boot());
                ill.send_if_modified(|known| {
                    let uuids = |ill: &[IllGpu]| ill.iter().map(|ill| ill.uuid.clone()).collect::<Vec<_>>();
                    note(known, &now);
                    // The words may change while they are ill.
                    let is_news = uuids(known) != uuids(&now);
                    *known = now;
                    is_news
                });
                for seen in waiting {
                    let _ = seen.send(());
                }
                if kept != *wards.reports() {
                    kept.clone_from(wards.reports());
                    let (records, reported) = (records.clone(), kept.clone());
                    // One after the other, and after all have heard of it: a disk that hangs delays nobody.
                    let _ = tokio::task::spawn_blocking(move || records.save(reported)).await;
                }
            }
        }));
        let watch = GpuWatch { ill: seen, percent, looks: Some(looks) };
        watch.look().await;
        watch
    }
}

/// How many NVIDIA's library finds; none: it is not here.
///
/// # Errors
/// It is here and does not say, or was named and is not here: in words.
pub(super) async fn count(settings: &GpuSettings) -> Result<Option<usize>, String> {
    Ok(search(settings.library.clone()).await?.map(|(_, found)| found.len()))
}

async fn search(library: Option<PathBuf>) -> Result<Option<(Nvml, Vec<Gpu>)>, String> {
    let search = tokio::task::spawn_blocking(move || {
        let Some(nvml) = Nvml::open(library.as_deref())? else { return Ok(None) };
        let found = nvml.devices()?;
        Ok::<_, NvmlFault>(Some((nvml, found)))
    });
    match timeout(ANSWER_LIMIT, search).await {
        Ok(Ok(found)) => found.map_err(|fault| fault.to_string()),
        Ok(Err(_)) | Err(_) => Err(format!("NVIDIA's driver gives no answer within {} s", ANSWER_LIMIT.as_secs())),
    }
}

/// As many of them as may be offered; of the last one perhaps a part.
fn within(found: Vec<Gpu>, most: Option<u64>) -> Vec<Gpu> {
    let Some(mut left) = most else { return found };
    let there = found.iter().map(|gpu| gpu.millis).sum();
    if left > there && there > 0 {
        let (wanted, there) = (Kind::Gpu.describe(left), Kind::Gpu.describe(there));
        tracing::warn!("{wanted} were to be offered, and {there} are there");
    }
    let part = |gpu: Gpu| {
        let millis = gpu.millis.min(left);
        left -= millis;
        (millis > 0).then_some(Gpu { millis, ..gpu })
    };
    found.into_iter().map_while(part).collect()
}

/// Who looks at GPUs, and does not wait for a driver that hangs.
#[derive(Debug)]
struct Doctor {
    nvml: Arc<Nvml>,
    offered: Vec<Gpu>,
    /// A look that has not ended: there is never a second beside it.
    under_way: Option<JoinHandle<Look>>,
}

#[derive(Debug)]
struct Look {
    probed: Vec<(String, Result<(), String>)>,
    percent: f64,
}

impl Doctor {
    async fn look(&mut self) -> Look {
        let mut look = self.under_way.take().unwrap_or_else(|| {
            let (nvml, offered) = (Arc::clone(&self.nvml), self.offered.clone());
            tokio::task::spawn_blocking(move || {
                let uuids: Vec<_> = offered.iter().map(|gpu| gpu.uuid.clone()).collect();
                Look { probed: nvml.probe(&uuids), percent: nvml.utilisation(&offered).unwrap_or(0.0) }
            })
        });
        match timeout(ANSWER_LIMIT, &mut look).await {
            Ok(Ok(look)) => return look,
            Ok(Err(_)) => {}
            Err(_) => self.under_way = Some(look),
        }
        let silent = || Err(format!("NVIDIA's driver gives no answer within {} s", ANSWER_LIMIT.as_secs()));
        Look { probed: self.offered.iter().map(|gpu| (gpu.uuid.clone(), silent())).collect(), percent: 0.0 }
    }
}

/// Passes on what the GPUs report, until the worker stops.
fn listen(nvml: &Nvml, events: &mpsc::Sender<Xid>, life: &CancellationToken) {
    while !life.is_cancelled() {
        // A GPU that is lost may end it for all: the probes find that one, and the others are listened to again.
        if let Err(fault) = listen_once(nvml, events, life) {
            tracing::warn!("Errors of GPUs are not heard for a moment: {fault}");
        }
        std::thread::sleep(PROBE);
    }
}

fn listen_once(nvml: &Nvml, events: &mpsc::Sender<Xid>, life: &CancellationToken) -> Result<(), NvmlFault> {
    // None of them can be listened to now; one that was reset may be.
    let Some(xids) = nvml.listen()? else { return Ok(()) };
    while !life.is_cancelled() {
        if let Some(xid) = xids.next(EVENT_WAIT)? {
            // Where too many wait, the first ones have said what there is to say.
            let _ = events.try_send(xid);
        }
    }
    Ok(())
}

/// What has changed, for the log.
fn note(before: &[IllGpu], after: &[IllGpu]) {
    for ill in after.iter().filter(|ill| before.iter().all(|old| old.uuid != ill.uuid)) {
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
        let millis = |most| within(gpus(&[1000, 1000]), Some(most)).iter().map(|gpu| gpu.millis).collect::<Vec<_>>();
        assert_eq!((millis(500), millis(1500), millis(3000)), (vec![500], vec![1000, 500], vec![1000, 1000]));
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
        let gpus = Gpus::find(&settings, None).await.expect("they are found");
        assert_eq!(gpus.offered.iter().map(|gpu| gpu.uuid.as_str()).collect::<Vec<_>>(), ["GPU-a", "GPU-b"]);
        assert_eq!(gpus.in_addition_to(Resources::default()).gpu_millis, 2000);
        let life = CancellationToken::new();
        nvml::tests::tell(scratch.path(), &format!("{STATE}ecc GPU-a 1\n"));
        let watch = gpus.watch(settings.quarantine, scratch.path().join("gpus.json"), life.clone()).await;
        assert_eq!(watch.ill.borrow().len(), 1, "it is seen before anybody is told of any of them");
        assert!((*watch.percent.borrow() - 30.0).abs() < f64::EPSILON);
        nvml::tests::tell(scratch.path(), STATE);
        watch.look().await;
        let mut ill = watch.ill.clone();
        assert_eq!(ill.borrow_and_update().len(), 0, "who asks for a look sees what is so now");
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

    #[tokio::test]
    async fn a_library_that_was_named_must_be_there() {
        let settings = GpuSettings { library: Some("/nowhere/libnvidia-ml.so.1".into()), quarantine: PROBE };
        let error = Gpus::find(&settings, None).await.expect_err("it is not there");
        assert!(error.to_string().contains("/nowhere/libnvidia-ml.so.1"), "{error}");
        assert_eq!(Gpus::find(&settings, Some(0)).await.expect("nobody wants one").offered, []);
    }
}
