//! NVIDIA's GPUs, as NVML tells of them: the library that comes with their driver. It is loaded while running, so that
//! the same program serves machines without it.
//!
//! Not every GPU and not every driver can answer everything: what cannot be measured is not held against it. Memory is
//! asked for as drivers from 510 on know it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nvml_wrapper::bitmasks::InitFlags;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING};
use nvml_wrapper::{Device, EventSet, Nvml as Library};
use shared::gpu::{Gpu, WHOLE};

/// What the library is called where the system finds it. The second is of systems with the files for developers only.
const NAMES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];
/// How NVML says that it does not know the number of an Xid.
const UNKNOWN_XID: u64 = 999;

/// Why NVIDIA's library is of no use here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NvmlFault {
    /// It cannot be loaded, or does not get to its driver.
    #[error("NVIDIA's library {library} cannot be used: {source}")]
    Open {
        /// Its file, or the name that the system was asked for.
        library: PathBuf,
        /// What is wrong.
        source: NvmlError,
    },
    /// It was loaded, and does not answer what is no matter of a single GPU.
    #[error("NVIDIA's driver does not answer: {source}")]
    Driver {
        /// What it says instead.
        source: NvmlError,
    },
}

/// An error that the driver writes to the system's log: see NVIDIA's [catalogue].
///
/// [catalogue]: https://docs.nvidia.com/deploy/xid-errors/
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Xid {
    /// Of the GPU, of which slices are part. None: it is not said of which, so it may be any.
    pub(crate) uuid: Option<String>,
    /// Its number in the catalogue; 999 if NVML does not know it.
    pub(crate) code: u64,
}

impl Xid {
    /// Whether it says something of the GPU, and not only of a program that ran there. What is left out is what
    /// NVIDIA's own [device plugin for Kubernetes][plugin] leaves out, as after it a GPU should still be healthy.
    ///
    /// [plugin]: https://github.com/NVIDIA/k8s-device-plugin/blob/main/internal/rm/health.go
    pub(crate) fn is_of_gpu(&self) -> bool {
        !matches!(self.code, 13 | 31 | 43 | 45 | 68 | 109)
    }

    /// The number, and what it means where that is well known: see the catalogue.
    pub(crate) fn describe(&self) -> String {
        let meaning = match self.code {
            48 => "a memory error that could not be corrected",
            63 => "a part of its memory is to be retired or remapped",
            64 => "a part of its memory could not be retired or remapped",
            74 => "an error of NVLink",
            79 => "the GPU has fallen off the bus",
            94 => "a memory error that stayed within one program",
            95 => "a memory error that did not stay within one program",
            119 => "the GPU's system processor does not answer",
            code => return format!("Xid {code}"),
        };
        format!("Xid {}: {meaning}", self.code)
    }
}

/// The library, opened.
#[derive(Debug)]
pub(crate) struct Nvml {
    library: Library,
}

impl Nvml {
    /// Opens the library at `path`, else where the system has it. None: this machine has none, or no driver for it, or
    /// one that is not for this user.
    ///
    /// # Errors
    ///
    /// If the driver fails otherwise. Where a path is given, somebody counts on GPUs: each of the above is an error
    /// too.
    pub(crate) fn open(path: Option<&Path>) -> Result<Option<Self>, NvmlFault> {
        if let Some(path) = path {
            return Self::load(path).map(Some);
        }
        for name in NAMES {
            match Self::load(Path::new(name)) {
                Err(NvmlFault::Open {
                    source: NvmlError::LibloadingError(_) | NvmlError::DriverNotLoaded | NvmlError::NoPermission,
                    ..
                }) => {}
                opened => return opened.map(Some),
            }
        }
        Ok(None)
    }

    fn load(path: &Path) -> Result<Self, NvmlFault> {
        // That there is no GPU, or none any more, is no failure: there are no devices then.
        let opened = Library::builder().lib_path(path.as_os_str()).flags(InitFlags::NO_GPUS).init();
        let library = opened.map_err(|source| NvmlFault::Open { library: path.to_owned(), source })?;
        Ok(Self { library })
    }

    /// What tasks can have, by UUID: whole GPUs, and of one in MIG mode its slices and not itself. A slice has as many
    /// thousandths as its compute slices are of those that its GPU can be cut into, which is [the most MIG devices that it
    /// can have][count]; where the driver does not tell these, as its memory is of its GPU's. One that does not answer is
    /// left out, and the log says why.
    ///
    /// [count]: https://docs.nvidia.com/deploy/nvml-api/group__nvmlMultiInstanceGPU.html
    ///
    /// # Errors
    ///
    /// If the driver does not say how many GPUs there are.
    pub(crate) fn devices(&self) -> Result<Vec<Gpu>, NvmlFault> {
        let answer = |(index, gpu): (usize, Device<'_>)| {
            devices_of(&gpu).inspect_err(|error| tracing::warn!("GPU number {index} is left out: {error}")).ok()
        };
        let mut devices: Vec<Gpu> = self.gpus()?.enumerate().filter_map(answer).flatten().collect();
        devices.sort_by(|a, b| a.uuid.cmp(&b.uuid));
        Ok(devices)
    }

    /// Whether each of these devices can be trusted with work; the error is the reason why not, in words. A slice is as good
    /// as its GPU.
    pub(crate) fn probe(&self, uuids: &[String]) -> Vec<(String, Result<(), String>)> {
        let mut looks: Vec<(Vec<String>, Result<(), String>)> = Vec::new();
        // By their numbers: asked for one by its UUID, the driver may fail over another that is lost.
        for gpu in self.gpus().into_iter().flatten() {
            let names = std::iter::once(gpu.uuid().ok()).chain(slices(&gpu).map(|slice| slice.uuid().ok()));
            looks.push((names.flatten().collect(), look_at(&gpu)));
        }
        let of = |uuid: &String| match looks.iter().find(|(names, _)| names.contains(uuid)) {
            Some((_, look)) => look.clone(),
            None => Err(silence(&self.library.device_by_uuid(uuid.as_str()).err().unwrap_or(NvmlError::NotFound))),
        };
        uuids.iter().map(|uuid| (uuid.clone(), of(uuid))).collect()
    }

    /// How busy the GPUs are that these devices are, or are slices of, on average: percent of the driver's last sample
    /// period, 0 to 100. None: none of them says so. One in MIG mode does not.
    pub(crate) fn utilisation(&self, devices: &[Gpu]) -> Option<f64> {
        let is_meant = |gpu: &Device<'_>| {
            let uuid = gpu.uuid().unwrap_or_default();
            devices.iter().any(|device| *device.parent.as_ref().unwrap_or(&device.uuid) == uuid)
        };
        let rates = self.gpus().ok()?.filter(is_meant).filter_map(|gpu| gpu.utilization_rates().ok());
        let (sum, count) = rates.fold((0, 0), |(sum, count), rates| (sum + rates.gpu.min(100), count + 1));
        (count > 0).then(|| f64::from(sum) / f64::from(count))
    }

    /// Listens for critical Xids of all GPUs that are here now and tell of them. None: there is no such GPU. What
    /// happened before is not heard.
    ///
    /// # Errors
    ///
    /// If the driver has no place for one more who listens.
    pub(crate) fn listen(&self) -> Result<Option<Xids<'_>>, NvmlFault> {
        let new_set = || self.library.create_event_set().map_err(|source| NvmlFault::Driver { source });
        let xids = EventTypes::CRITICAL_XID_ERROR;
        let mut listening = None;
        for gpu in self.gpus()? {
            // A set to which a GPU cannot be added is gone, with all that were in it: it is tried with one of its own.
            if gpu.register_events(xids, new_set()?).is_err() {
                continue;
            }
            let set = listening.take().map_or_else(new_set, Ok)?;
            let added = gpu.register_events(xids, set).map_err(|fault| NvmlFault::Driver { source: fault.error })?;
            listening = Some(added);
        }
        Ok(listening.map(|set| Xids { set }))
    }

    /// The physical GPUs that answer: one that is lost hides no other.
    fn gpus(&self) -> Result<impl Iterator<Item = Device<'_>>, NvmlFault> {
        let count = self.library.device_count().map_err(|source| NvmlFault::Driver { source })?;
        Ok((0..count).filter_map(|index| self.library.device_by_index(index).ok()))
    }
}

/// One who listens: see [`Nvml::listen`].
#[derive(Debug)]
pub(crate) struct Xids<'nvml> {
    set: EventSet<'nvml>,
}

impl Xids<'_> {
    /// Waits for the next Xid, on this thread and for as long as `patience`, to the millisecond. None: nothing has
    /// happened, or the system has interrupted.
    ///
    /// # Errors
    ///
    /// If the driver fails, which it may also do when a GPU is lost. It would again, and at once: probe all devices,
    /// and listen anew after a pause.
    pub(crate) fn next(&self, patience: Duration) -> Result<Option<Xid>, NvmlFault> {
        let event = match self.set.wait(u32::try_from(patience.as_millis()).unwrap_or(u32::MAX)) {
            Ok(event) => event,
            Err(NvmlError::Timeout) => return Ok(None),
            Err(source) => return Err(NvmlFault::Driver { source }),
        };
        let code = event.event_data.map(|code| match code {
            XidError::Value(code) => code,
            XidError::Unknown => UNKNOWN_XID,
        });
        Ok(code.map(|code| Xid { uuid: event.device.uuid().ok(), code }))
    }
}

/// Whether a physical GPU can be trusted with work.
fn look_at(gpu: &Device<'_>) -> Result<(), String> {
    // Its UUID may be remembered; how much is in use only the GPU itself can say.
    answer(gpu.memory_info())?;
    match answer(gpu.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile))? {
        None | Some(0) => {}
        Some(1) => return Err("1 memory error that could not be corrected".to_owned()),
        Some(errors) => return Err(format!("{errors} memory errors that could not be corrected")),
    }
    let fields = [NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING].map(FieldId);
    let rows = answer(gpu.field_values_for(&fields))?.unwrap_or_default();
    let is_set = |field| {
        let mut values = rows.iter().flatten().filter(|row| row.field.0 == field).map(|row| &row.value);
        values.any(|value| matches!(value, Ok(SampleValue::U32(1..) | SampleValue::U64(1..))))
    };
    if is_set(NVML_FI_DEV_REMAPPED_FAILURE) {
        return Err("a row of its memory is bad and could not be remapped".to_owned());
    }
    if is_set(NVML_FI_DEV_REMAPPED_PENDING) {
        return Err("a row of its memory is to be remapped at the next reset".to_owned());
    }
    Ok(())
}

/// What tasks can have of a physical GPU.
fn devices_of(gpu: &Device<'_>) -> Result<Vec<Gpu>, NvmlError> {
    let whole = read(gpu)?;
    if !gpu.mig_mode().is_ok_and(|mode| mode.current != 0) {
        return Ok(vec![whole]);
    }
    let most = gpu.mig_device_count()?;
    let slice_of = |slice: Device<'_>| {
        let device = read(&slice).ok()?;
        let millis = match slice.attributes() {
            Ok(slice) => share(slice.compute_instance_slice_count.into(), most.into()),
            Err(_) => share(device.memory_bytes, whole.memory_bytes),
        };
        Some(Gpu { millis, parent: Some(whole.uuid.clone()), ..device })
    };
    Ok(slices(gpu).filter_map(slice_of).collect())
}

/// A device as if it were whole.
fn read(handle: &Device<'_>) -> Result<Gpu, NvmlError> {
    let memory_bytes = match handle.memory_info() {
        Ok(memory) => memory.total,
        Err(NvmlError::NotSupported) => 0,
        Err(error) => return Err(error),
    };
    Ok(Gpu { uuid: handle.uuid()?, name: handle.name()?, millis: WHOLE, memory_bytes, parent: None })
}

/// The slices that a GPU is cut into; those that are not there leave their numbers free.
fn slices<'nvml>(gpu: &Device<'nvml>) -> impl Iterator<Item = Device<'nvml>> {
    let most = gpu.mig_device_count().unwrap_or(0);
    (0..most).filter_map(|index| gpu.mig_device_by_index(index).ok())
}

/// Thousandths, rounded down, but something.
fn share(part: u64, whole: u64) -> u64 {
    part.saturating_mul(WHOLE).checked_div(whole).unwrap_or(0).clamp(1, WHOLE)
}

/// What a GPU said. None: it cannot say that. Err: it says nothing any more, in words.
fn answer<T>(said: Result<T, NvmlError>) -> Result<Option<T>, String> {
    match said {
        Ok(said) => Ok(Some(said)),
        Err(
            error @ (NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::IrqIssue
            | NvmlError::InsufficientPower
            | NvmlError::Unknown),
        ) => Err(silence(&error)),
        Err(_) => Ok(None),
    }
}

fn silence(error: &NvmlError) -> String {
    match error {
        NvmlError::GpuLost => "it does not answer: it has fallen off the bus".to_owned(),
        NvmlError::ResetRequired => "it does not answer: it has to be reset".to_owned(),
        NvmlError::NotFound => "it does not answer: the driver does not know it".to_owned(),
        other => format!("it does not answer: {other}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    const STATE: &str = "driver 550.54\n\
        gpu GPU-b 81920 30 NVIDIA H100 80GB HBM3\n\
        gpu GPU-a 24576 50 NVIDIA A10\n\
        gpu GPU-c 40960 0 NVIDIA A100-SXM4-40GB\n\
        mig GPU-c MIG-2 20096 3 NVIDIA A100-SXM4-40GB MIG 3g.20gb\n\
        mig GPU-c MIG-1 4864 1 NVIDIA A100-SXM4-40GB MIG 1g.5gb\n";

    /// Puts a library into `directory` that tells what is in `state`: see `fake_nvml.c`. [`tell`] changes it.
    pub(crate) fn fake(directory: &Path, state: &str) -> PathBuf {
        let (source, library) = (directory.join("fake_nvml.c"), directory.join("libnvidia-ml.so.1"));
        fs::write(&source, include_str!("fake_nvml.c")).expect("the source");
        let mut compiler = Command::new("cc");
        compiler.args(["-std=c11", "-O1", "-shared", "-fPIC", "-pthread"]);
        let compiled = compiler.arg(&source).arg("-o").arg(&library).arg("-ldl").status();
        assert!(compiled.expect("a C compiler").success());
        tell(directory, state);
        library
    }

    /// Changes what the library in `directory` tells, also while it is open.
    pub(crate) fn tell(directory: &Path, state: &str) {
        fs::write(directory.join("nvml.state"), state).expect("the state");
    }

    fn opened(directory: &Path, state: &str) -> Nvml {
        Nvml::open(Some(&fake(directory, state))).expect("a library").expect("a driver")
    }

    fn xid(uuid: Option<&str>, code: u64) -> Xid {
        Xid { uuid: uuid.map(str::to_owned), code }
    }

    #[test]
    fn an_xid_is_said_in_words_and_programs_faults_are_not_the_gpus() {
        assert_eq!(xid(None, 79).describe(), "Xid 79: the GPU has fallen off the bus");
        assert_eq!(xid(None, 31).describe(), "Xid 31");
        assert!([48, 63, 64, 74, 79, 94, 95, 119, UNKNOWN_XID].iter().all(|code| xid(None, *code).is_of_gpu()));
        assert!([13, 31, 43, 45, 68, 109].iter().all(|code| !xid(None, *code).is_of_gpu()));
    }

    #[test]
    fn a_share_is_rounded_down_and_never_nothing() {
        assert_eq!([share(1, 7), share(3, 7), share(7, 7), share(8, 7)], [142, 428, 1000, 1000]);
        assert_eq!([share(0, 7), share(1, 0), share(1, 7000), share(u64::MAX, u64::MAX)], [1, 1, 1, 1]);
    }

    #[test]
    fn where_a_path_is_given_there_has_to_be_a_driver() {
        let directory = tempfile::tempdir().expect("a directory");
        let problem = |path: &Path| Nvml::open(Some(path)).expect_err("no driver").to_string();
        assert!(problem(&directory.path().join("none.so")).contains("none.so"));
        let library = fake(directory.path(), "");
        assert!(problem(&library).ends_with("libnvidia-ml.so.1 cannot be used: NVIDIA driver is not loaded"));
        tell(directory.path(), "driver 550.54\n");
        let nvml = Nvml::open(Some(&library)).expect("a library").expect("a driver");
        assert_eq!((nvml.devices().expect("devices"), nvml.utilisation(&[])), (vec![], None));
        assert!(nvml.listen().expect("nothing to listen to").is_none());
    }

    #[test]
    fn slices_stand_for_their_gpu_and_a_lost_one_hides_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let nvml = opened(directory.path(), STATE);
        let device = |uuid: &str, name: &str, millis, mib: u64, parent: Option<&str>| {
            let name = format!("NVIDIA {name}");
            Gpu { uuid: uuid.to_owned(), name, millis, memory_bytes: mib << 20, parent: parent.map(str::to_owned) }
        };
        let a = device("GPU-a", "A10", 1000, 24576, None);
        let b = device("GPU-b", "H100 80GB HBM3", 1000, 81920, None);
        let small = device("MIG-1", "A100-SXM4-40GB MIG 1g.5gb", 142, 4864, Some("GPU-c"));
        let large = device("MIG-2", "A100-SXM4-40GB MIG 3g.20gb", 428, 20096, Some("GPU-c"));
        assert_eq!(nvml.devices().expect("devices"), [a, b.clone(), small.clone(), large.clone()]);
        let all = nvml.devices().expect("devices");
        assert_eq!(nvml.utilisation(&all), Some(40.0), "one that is cut does not say");
        assert_eq!(nvml.utilisation(&all[..1]), Some(50.0));
        tell(directory.path(), &format!("{STATE}lost GPU-a\n"));
        assert_eq!(nvml.devices().expect("devices"), [b, small, large]);
        assert_eq!(nvml.utilisation(&all), Some(30.0));
        tell(directory.path(), "gpu GPU-c 40960 0 A100\nmig GPU-c MIG-3 20096 0 A100 MIG\n");
        let millis: Vec<u64> = nvml.devices().expect("devices").iter().map(|device| device.millis).collect();
        assert_eq!(millis, [490], "of one that does not tell its slices, what its memory is");
    }

    #[test]
    fn a_probe_finds_what_is_wrong_with_one_gpu_and_its_slices() {
        let directory = tempfile::tempdir().expect("a directory");
        let nvml = opened(directory.path(), STATE);
        let problems = |state: &str| {
            tell(directory.path(), &format!("{STATE}{state}"));
            let probed = nvml.probe(&["GPU-a", "GPU-b", "MIG-1"].map(str::to_owned));
            probed.into_iter().map(|(_, look)| look.err().unwrap_or_default()).collect::<Vec<_>>()
        };
        assert_eq!(problems(""), [""; 3], "what cannot be measured is not held against it");
        assert_eq!(problems("ecc GPU-a 0\nremap MIG-1 failed\n"), [""; 3]);
        assert_eq!(problems("ecc GPU-c 2\n"), ["", "", "2 memory errors that could not be corrected"]);
        assert_eq!(problems("ecc GPU-a 1\n"), ["1 memory error that could not be corrected", "", ""]);
        assert_eq!(problems("remap GPU-b failed\n"), ["", "a row of its memory is bad and could not be remapped", ""]);
        let pending = "a row of its memory is to be remapped at the next reset";
        assert_eq!(problems("remap GPU-c pending\n"), ["", "", pending]);
        let lost = "it does not answer: it has fallen off the bus";
        assert_eq!(problems("lost GPU-c\nlost GPU-a\n"), [lost, "", lost]);
        let gone = nvml.probe(&["GPU-x".to_owned()]);
        assert_eq!(gone[0].1, Err("it does not answer: the driver does not know it".to_owned()));
    }

    #[test]
    fn an_xid_is_heard_once_and_by_who_waits_for_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let nvml = opened(directory.path(), STATE);
        let xids = nvml.listen().expect("a place").expect("GPUs");
        let next = |patience| xids.next(Duration::from_millis(patience)).expect("an answer");
        assert_eq!(next(0), None);
        let happened = format!("{STATE}xid GPU-c 31\nxid GPU-x 74\n");
        tell(directory.path(), &happened);
        assert_eq!([next(60_000), next(60_000)], [Some(xid(Some("GPU-c"), 31)), Some(xid(None, 74))]);
        assert_eq!(next(30), None);
        let happened = format!("{happened}lost GPU-b\nxid GPU-b 79\n");
        tell(directory.path(), &happened);
        assert_eq!(next(60_000), Some(xid(None, 79)), "one that is lost does not even say which it is");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || xids.next(Duration::from_secs(60)).expect("an answer"));
            tell(directory.path(), &format!("{happened}xid GPU-a 95\n"));
            assert_eq!(waiting.join().expect("a thread"), Some(xid(Some("GPU-a"), 95)));
        });
        let xids = nvml.listen().expect("a place").expect("GPUs");
        tell(directory.path(), &format!("{happened}xid GPU-a 95\nxid GPU-b 79\nxid GPU-c 48\n"));
        let heard = xids.next(Duration::from_secs(60)).expect("an answer");
        assert_eq!(heard, Some(xid(Some("GPU-c"), 48)), "one that was lost before is not listened to");
    }
}
