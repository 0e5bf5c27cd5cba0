//! Which GPUs a run gets. GPUs are not a number: half of one and half of another are not one.

use shared::gpu::{Gpu, GpuLease};

/// A whole GPU, in thousandths.
const WHOLE: u64 = 1000;

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
}

impl Device {
    /// One that nobody has.
    pub(crate) fn unused(gpu: &Gpu, ill: bool) -> Self {
        Self { uuid: gpu.uuid.clone(), millis: gpu.millis, free: gpu.millis, ill }
    }

    /// What of it can be given.
    #[must_use]
    pub fn available(&self) -> u64 {
        if self.ill { 0 } else { self.free }
    }
}

/// The devices for so many thousandths, in the order of `devices`: whole GPUs for whole ones, and what is left over from
/// the device where it fits most tightly, so that larger pieces stay whole. None: it is not to be had in one piece.
#[must_use]
pub fn choose(devices: &[Device], wanted: u64) -> Option<Vec<GpuLease>> {
    let (whole, rest) = (wanted / WHOLE, wanted % WHOLE);
    let count = usize::try_from(whole).ok()?;
    let lease = |device: &Device, millis| GpuLease { uuid: device.uuid.clone(), millis };
    let is_whole = |device: &&Device| device.millis == WHOLE && device.available() == WHOLE;
    let mut leases: Vec<_> = devices.iter().filter(is_whole).take(count).map(|device| lease(device, WHOLE)).collect();
    if leases.len() < count {
        return None;
    }
    if rest > 0 {
        let is_taken = |device: &&Device| leases.iter().any(|lease| lease.uuid == device.uuid);
        let tightest = devices
            .iter()
            .filter(|device| device.available() >= rest && !is_taken(device))
            .min_by_key(|device| device.free)?;
        leases.push(lease(tightest, rest));
    }
    Some(leases)
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
    let whole = devices.iter().filter(|device| device.millis == WHOLE && device.available() == WHOLE).count() as u64;
    let part = |device: &Device| if device.available() == WHOLE { 0 } else { device.available() };
    whole * WHOLE + devices.iter().map(part).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name:millis:free` each; `!` before the name: ill.
    fn devices(text: &str) -> Vec<Device> {
        let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).expect("a number");
        let device = |text: &str| {
            let mut parts = text.split(':');
            let name = parts.next().expect("a name");
            let (millis, free) = (number(parts.next()), number(parts.next()));
            Device { uuid: name.trim_start_matches('!').to_owned(), millis, free, ill: name.starts_with('!') }
        };
        text.split(' ').map(device).collect()
    }

    fn chosen(text: &str, wanted: u64) -> Option<String> {
        let leases = choose(&devices(text), wanted)?;
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
