//! Which GPUs a run gets. GPUs are not a number: half of one and half of another are not one.

use shared::gpu::{Gpu, GpuLease, WHOLE};

/// A GPU of a worker, or a slice of one, as placing sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub uuid: String,
    /// All of it, in thousandths of a whole GPU.
    pub millis: u64,
    /// What nobody has of it.
    pub free: u64,
    /// Whether it gets no work.
    pub ill: bool,
    /// Whether it is a slice of a GPU: a program cannot use one beside another device.
    pub slice: bool,
}

impl Device {
    /// One that nobody has.
    pub(crate) fn unused(gpu: &Gpu, ill: bool) -> Self {
        Self { uuid: gpu.uuid.clone(), millis: gpu.millis, free: gpu.millis, ill, slice: gpu.parent.is_some() }
    }

    /// What of it can be given.
    #[must_use]
    pub fn available(&self) -> u64 {
        if self.ill { 0 } else { self.free }
    }

    /// Whether it is one of several whole GPUs that can be had together.
    fn is_whole(&self) -> bool {
        !self.slice && self.available() == WHOLE
    }
}

/// The devices for so many thousandths, in the order of `devices`. Up to a whole GPU is one device, that where it fits most
/// tightly, so that larger pieces stay whole; more are whole GPUs, and for what is left over a part of another one. None:
/// that is not to be had.
#[must_use]
pub fn choose(devices: &[Device], wanted: u64) -> Option<Vec<GpuLease>> {
    let lease = |device: &Device, millis| GpuLease { uuid: device.uuid.clone(), millis };
    if wanted == 0 {
        return Some(Vec::new());
    }
    if wanted <= WHOLE {
        return tightest(devices.iter(), wanted).map(|device| vec![lease(device, wanted)]);
    }
    let (whole, rest) = (usize::try_from(wanted / WHOLE).ok()?, wanted % WHOLE);
    let taken: Vec<&Device> = devices.iter().filter(|device| device.is_whole()).take(whole).collect();
    if taken.len() < whole {
        return None;
    }
    let mut leases: Vec<_> = taken.iter().map(|device| lease(device, WHOLE)).collect();
    if rest > 0 {
        let is_taken = |device: &Device| taken.iter().any(|other| other.uuid == device.uuid);
        let others = devices.iter().filter(|device| !device.slice && !is_taken(device));
        leases.push(lease(tightest(others, rest)?, rest));
    }
    Some(leases)
}

/// Whether [`choose`] finds them, for whoever asks often.
#[must_use]
pub fn could(devices: &[Device], wanted: u64) -> bool {
    if wanted <= WHOLE {
        return wanted == 0 || devices.iter().any(|device| device.available() >= wanted);
    }
    let (whole, rest) = (wanted / WHOLE, wanted % WHOLE);
    let there = devices.iter().filter(|device| device.is_whole()).count() as u64;
    let has_rest = |device: &Device| !device.slice && !device.is_whole() && device.available() >= rest;
    there >= whole && (rest == 0 || there > whole || devices.iter().any(has_rest))
}

fn tightest<'a>(devices: impl Iterator<Item = &'a Device>, wanted: u64) -> Option<&'a Device> {
    devices.filter(|device| device.available() >= wanted).min_by_key(|device| device.free)
}

/// Takes from the devices what a run has of them. What it has of a device that is not there is nobody's business.
pub fn take(devices: &mut [Device], leases: &[GpuLease]) {
    for lease in leases {
        if let Some(device) = devices.iter_mut().find(|device| device.uuid == lease.uuid) {
            device.free = device.free.saturating_sub(lease.millis);
        }
    }
}

/// The most that could be had at once.
#[must_use]
pub fn most(devices: &[Device]) -> u64 {
    let whole = devices.iter().filter(|device| device.is_whole()).count() as u64;
    let parts = devices.iter().filter(|device| !device.slice && !device.is_whole()).map(Device::available);
    let alone = devices.iter().map(Device::available).max().unwrap_or(0);
    alone.max(whole * WHOLE + parts.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name:millis:free` each; `!` before the name: ill; one that begins with `m` is a slice.
    fn devices(text: &str) -> Vec<Device> {
        let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).expect("a number");
        let device = |text: &str| {
            let mut parts = text.split(':');
            let name = parts.next().expect("a name");
            let (millis, free) = (number(parts.next()), number(parts.next()));
            let uuid = name.trim_start_matches('!').to_owned();
            Device { slice: uuid.starts_with('m'), uuid, millis, free, ill: name.starts_with('!') }
        };
        text.split(' ').map(device).collect()
    }

    fn chosen(text: &str, wanted: u64) -> Option<String> {
        let devices = devices(text);
        let leases = choose(&devices, wanted);
        assert_eq!(leases.is_some(), could(&devices, wanted), "{text}, {wanted}");
        let leases = leases?;
        Some(leases.iter().map(|lease| format!("{}:{}", lease.uuid, lease.millis)).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn whole_gpus_are_whole_and_parts_go_where_they_fit_most_tightly() {
        let busy = "a:1000:500 b:1000:1000 c:1000:700";
        for (wanted, expected) in [
            (1000, Some("b:1000")),
            (500, Some("a:500")),
            (600, Some("c:600")),
            (800, Some("b:800")),
            (1500, Some("b:1000 a:500")),
            (1800, None),
            (2000, None),
            (0, Some("")),
        ] {
            assert_eq!(chosen(busy, wanted).as_deref(), expected, "{wanted}");
        }
        assert_eq!(most(&devices(busy)), 1700);
    }

    #[test]
    fn slices_are_no_whole_gpus_and_ill_ones_get_nothing() {
        let cut = "m1:428:428 m2:428:428 m3:142:142";
        assert_eq!(chosen(cut, 1000), None);
        assert_eq!(chosen(cut, 400).as_deref(), Some("m1:400"));
        assert_eq!(chosen(cut, 100).as_deref(), Some("m3:100"));
        assert_eq!(most(&devices(cut)), 428);
        assert_eq!(chosen("a:1000:1000 m1:428:428", 1400), None, "not together");
        assert_eq!(chosen("m1:1000:1000", 1000).as_deref(), Some("m1:1000"), "a slice that is all of its GPU");
        assert_eq!(chosen("m1:1000:1000 m2:1000:1000", 2000), None);
        assert_eq!(most(&devices("a:1000:1000 m1:1000:1000")), 1000);
        assert_eq!(chosen("!a:1000:1000 b:1000:1000", 2000), None);
        assert_eq!(chosen("!a:1000:1000 b:1000:1000", 1000).as_deref(), Some("b:1000"));
    }

    #[test]
    fn what_is_taken_is_not_free() {
        let mut devices = devices("a:1000:1000 b:1000:1000");
        let leases = choose(&devices, 1300).expect("there");
        take(&mut devices, &leases);
        take(&mut devices, &[GpuLease { uuid: "gone".to_owned(), millis: 1 }]);
        assert_eq!(devices.iter().map(|device| device.free).collect::<Vec<_>>(), [0, 700]);
    }
}
