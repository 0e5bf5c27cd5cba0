//! Resources as integers. Floats and human units exist only here, at the edge.

use std::fmt;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Deserializer, Serialize};

/// One KiB, MiB and GiB in bytes.
pub const KIB: u64 = 1 << 10;
/// See [`KIB`].
pub const MIB: u64 = 1 << 20;
/// See [`KIB`].
pub const GIB: u64 = 1 << 30;

/// What a task asks for, or a worker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resources {
    /// Thousandths of a CPU core.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk.
    pub storage_bytes: u64,
    /// Thousandths of a GPU.
    pub gpu_millis: u64,
}

impl Resources {
    /// What a task gets when it does not say: the defaults of the specification (1 core, 0.5 GiB, 1 GiB, no GPU).
    pub const TASK_DEFAULT: Self = Self { cpu_millis: 1000, memory_bytes: GIB / 2, storage_bytes: GIB, gpu_millis: 0 };

    /// What is left of `self` when `taken` is taken; nothing goes below zero.
    #[must_use]
    pub fn saturating_sub(self, taken: Self) -> Self {
        self.zip(taken, u64::saturating_sub)
    }

    /// The resources of which `self` has less than `wanted`, and how much of each is there and wanted.
    pub fn lacking(self, wanted: Self) -> impl Iterator<Item = Shortage> {
        Kind::ALL.into_iter().filter_map(move |kind| {
            let (available, wanted) = (kind.of(&self), kind.of(&wanted));
            (available < wanted).then_some(Shortage { kind, available, wanted })
        })
    }

    /// Whether `wanted` fits into `self`.
    #[must_use]
    pub fn fits(self, wanted: Self) -> bool {
        Kind::ALL.into_iter().all(|kind| kind.of(&wanted) <= kind.of(&self))
    }

    fn zip(self, other: Self, f: fn(u64, u64) -> u64) -> Self {
        Self {
            cpu_millis: f(self.cpu_millis, other.cpu_millis),
            memory_bytes: f(self.memory_bytes, other.memory_bytes),
            storage_bytes: f(self.storage_bytes, other.storage_bytes),
            gpu_millis: f(self.gpu_millis, other.gpu_millis),
        }
    }
}

impl Add for Resources {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Resources {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// The kinds of resources, in the order in which they are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Thousandths of a core.
    Cpu,
    /// Bytes.
    Memory,
    /// Bytes.
    Storage,
    /// Thousandths of a GPU.
    Gpu,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Storage, Self::Gpu];

    /// The amount of this kind in `resources`.
    #[must_use]
    pub fn of(self, resources: &Resources) -> u64 {
        match self {
            Self::Cpu => resources.cpu_millis,
            Self::Memory => resources.memory_bytes,
            Self::Storage => resources.storage_bytes,
            Self::Gpu => resources.gpu_millis,
        }
    }

    /// `amount` of this kind in words, for example `2.5 cores` or `4 GiB`.
    #[must_use]
    pub fn describe(self, amount: u64) -> String {
        match self {
            Self::Cpu => format!("{} CPU", Millis(amount)),
            Self::Memory => format!("{} memory", Bytes(amount)),
            Self::Storage => format!("{} storage", Bytes(amount)),
            Self::Gpu => format!("{} GPU", Millis(amount)),
        }
    }
}

/// One resource of which there is too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// Which.
    pub kind: Kind,
    /// How much there is.
    pub available: u64,
    /// How much is wanted.
    pub wanted: u64,
}

/// Displays thousandths as a decimal number without trailing zeros: `1500` is `1.5`.
#[derive(Debug, Clone, Copy)]
pub struct Millis(pub u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return f.pad(&whole.to_string());
        }
        let text = format!("{whole}.{rest:03}");
        f.pad(text.trim_end_matches('0'))
    }
}

/// Displays bytes in the largest binary unit that keeps the number at 1 or more: `1536 MiB` is `1.5 GiB`.
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let number = format!("{value:.2}");
        let number = if unit == 0 { self.0.to_string() } else { trim_zeros(&number).to_owned() };
        f.pad(&format!("{number} {}", UNITS[unit]))
    }
}

fn trim_zeros(number: &str) -> &str {
    number.trim_end_matches('0').trim_end_matches('.')
}

/// A quantity that cannot be taken. The message says what can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidQuantity(String);

/// A number as a client wrote it: a JSON number or a text that may carry a unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Quantity {
    /// `2.5`
    Number(f64),
    /// `"2.5"`, `"500m"`, `"4GiB"`
    Text(String),
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a text such as \"500m\" or \"4GiB\"")
            }
            fn visit_f64<E>(self, number: f64) -> Result<Quantity, E> {
                Ok(Quantity::Number(number))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity::Number(number as f64))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity::Number(number as f64))
            }
            fn visit_str<E>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl std::str::FromStr for Quantity {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::Text(text.to_owned()))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "\"{}\"", text.chars().take(40).collect::<String>().escape_debug()),
        }
    }
}

impl Quantity {
    /// Thousandths: `2.5` and `"2.5"` are 2500, `"500m"` is 500. At most 1,000,000 whole units.
    ///
    /// # Errors
    /// Not a number, negative, infinite, or finer than a thousandth. `field` stands in the message.
    pub fn to_millis(&self, field: &str) -> Result<u64, InvalidQuantity> {
        let refuse = |why: &str| {
            InvalidQuantity(format!(
                "{field}: {self} {why}; give a number such as 0.5 or 4, or thousandths such as \"500m\""
            ))
        };
        let (number, factor) = match self {
            Self::Number(number) => (*number, 1000.0),
            Self::Text(text) => match text.trim().strip_suffix('m') {
                Some(millis) => (parse_plain(millis).ok_or_else(|| refuse("is not a number"))?, 1.0),
                None => (parse_plain(text).ok_or_else(|| refuse("is not a number"))?, 1000.0),
            },
        };
        to_integer(number, factor, 1e9).map_err(refuse)
    }

    /// Bytes. A bare number counts GiB, as in the specification (`-mem 8.0`); units are B, K, M, G, T (or KiB, KB ...),
    /// binary throughout. At most 1 PiB.
    ///
    /// # Errors
    /// Not a number, unknown unit, negative, infinite or too large. `field` stands in the message.
    pub fn to_bytes(&self, field: &str) -> Result<u64, InvalidQuantity> {
        let refuse = |why: &str| {
            InvalidQuantity(format!("{field}: {self} {why}; give GiB such as 0.5 or 8, or a unit such as \"512MiB\""))
        };
        let (number, factor) = match self {
            Self::Number(number) => (*number, GIB as f64),
            Self::Text(text) => {
                let text = text.trim();
                let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
                // An exponent, or `inf` and `nan`, are no units.
                let (number, unit) = text.split_at(digits);
                let factor = match unit.to_ascii_lowercase().as_str() {
                    "" | "g" | "gb" | "gib" => GIB,
                    "b" => 1,
                    "k" | "kb" | "kib" => KIB,
                    "m" | "mb" | "mib" => MIB,
                    "t" | "tb" | "tib" => GIB * 1024,
                    _ => return Err(refuse("is not a size")),
                };
                (parse_plain(number).ok_or_else(|| refuse("is not a size"))?, factor as f64)
            }
        };
        to_integer(number, factor, (1u64 << 50) as f64).map_err(refuse)
    }
}

/// Digits with at most one point; no exponent, no sign but a minus (which is refused later, with a better message).
fn parse_plain(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
    text.parse().ok().filter(|_| plain)
}

fn to_integer(number: f64, factor: f64, limit: f64) -> Result<u64, &'static str> {
    if !number.is_finite() {
        return Err("is not a finite number");
    }
    if number < 0.0 || (number == 0.0 && number.is_sign_negative()) {
        return Err("is negative");
    }
    let scaled = number * factor;
    if scaled > limit {
        return Err("is too large");
    }
    let whole = scaled.round();
    if number > 0.0 && whole < 1.0 {
        return Err("is too small");
    }
    Ok(whole as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Quantity {
        Quantity::Text(s.to_owned())
    }

    #[test]
    fn human_units_become_integers() {
        assert_eq!(Quantity::Number(2.5).to_millis("cpu"), Ok(2500));
        assert_eq!(text("500m").to_millis("cpu"), Ok(500));
        assert_eq!(text("0.05").to_millis("cpu"), Ok(50));
        assert_eq!(Quantity::Number(8.0).to_bytes("mem"), Ok(8 * GIB));
        assert_eq!(text("512MiB").to_bytes("mem"), Ok(512 * MIB));
        assert_eq!(text("0.5").to_bytes("mem"), Ok(GIB / 2));
        assert_eq!(text("64 k").to_bytes("mem"), Ok(64 * KIB));
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_a_hint() {
        for bad in ["NaN", "inf", "-1", "-0", "", "x", "1e3", "1e309", "4XiB", "0.0001", "99999999999"] {
            let error = text(bad).to_millis("cpu_cores").expect_err(bad).to_string();
            assert!(error.starts_with("cpu_cores:") && error.contains("give"), "{error}");
        }
        for bad in ["NaN", "inf", "-1", "", "GiB", "1e3", "4XiB", "99999999T"] {
            assert!(text(bad).to_bytes("mem").is_err(), "{bad}");
        }
        assert!(Quantity::Number(f64::NAN).to_millis("cpu").is_err());
        assert!(Quantity::Number(-0.0).to_bytes("mem").is_err());
        assert!(Quantity::Number(f64::INFINITY).to_bytes("mem").is_err());
    }

    #[test]
    fn shown_amounts_are_short() {
        assert_eq!(Bytes(GIB + GIB / 2).to_string(), "1.5 GiB");
        assert_eq!(Bytes(12).to_string(), "12 B");
        assert_eq!(Millis(1500).to_string(), "1.5");
        assert_eq!(Millis(50).to_string(), "0.05");
        assert_eq!(Millis(4000).to_string(), "4");
    }

    #[test]
    fn fitting_and_lacking_agree() {
        let small = Resources { cpu_millis: 500, ..Resources::TASK_DEFAULT };
        assert!(Resources::TASK_DEFAULT.fits(small));
        assert!(!small.fits(Resources::TASK_DEFAULT));
        let lacking: Vec<_> = small.lacking(Resources::TASK_DEFAULT).collect();
        assert_eq!(lacking, [Shortage { kind: Kind::Cpu, available: 500, wanted: 1000 }]);
    }
}
