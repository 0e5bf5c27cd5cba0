//! Arrays: which elements a submission has, as a person writes it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ranges::RangeSet;

/// The most elements of one array.
pub const COUNT_LIMIT: u32 = 1_000_000;
/// The largest index of an element.
pub const INDEX_LIMIT: u32 = 2_000_000_000;
/// The most ranges of one array: what it costs before its elements differ.
const RANGES_LIMIT: usize = 10_000;
/// The environment variable in which an element finds its index.
pub const INDEX_VARIABLE: &str = "CLOUDAI_ARRAY_INDEX";
/// The environment variable in which an element finds the number of elements.
pub const COUNT_VARIABLE: &str = "CLOUDAI_ARRAY_COUNT";

/// The elements of a submission, and how many of them may be with workers at a time.
///
/// Written as `0-99`, `0-99:2` (every second), `1,3,10-19`, each with `%4` behind it for four at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Array {
    /// The indices of the elements. Never empty.
    pub indices: RangeSet,
    /// The most elements that are pending or running at once; none: as many as there is room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A text that is no array.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {problem}")]
pub struct InvalidArray {
    text: String,
    problem: String,
}

impl Array {
    /// `0..count`, without a limit.
    #[must_use]
    pub fn of(count: u32) -> Self {
        Self { indices: RangeSet::first(count), limit: None }
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.indices.fmt(f)?;
        self.limit.map_or(Ok(()), |limit| write!(f, "%{limit}"))
    }
}

impl FromStr for Array {
    type Err = InvalidArray;
    fn from_str(text: &str) -> Result<Self, InvalidArray> {
        parse(text).map_err(|problem| {
            let text = text.chars().take(80).collect::<String>().escape_debug().to_string();
            InvalidArray { text, problem }
        })
    }
}

fn parse(text: &str) -> Result<Array, String> {
    let (indices, limit) = match text.split_once('%') {
        None => (text, None),
        Some((indices, limit)) => (indices, Some(number(limit, "the limit behind `%`")?)),
    };
    if limit == Some(0) {
        return Err("lets none of its elements run: give at least 1 behind `%`".to_owned());
    }
    let parts: Vec<_> = indices.split(',').map(progression).collect::<Result<_, _>>()?;
    let indices = match parts.as_slice() {
        [only] => only.clone(),
        parts => join(parts)?,
    };
    let count = parts.iter().map(|part| u64::from(part.len())).sum::<u64>();
    if count > u64::from(COUNT_LIMIT) {
        return Err(format!("has {count} elements, and {COUNT_LIMIT} are the most: make several arrays of it"));
    }
    Ok(Array { indices, limit })
}

/// `7`, `0-99`, `0-99:2`.
fn progression(text: &str) -> Result<RangeSet, String> {
    let (range, step) = match text.split_once(':') {
        None => (text, 1),
        Some((range, step)) => (range, number(step, "the step behind `:`")?),
    };
    let (first, last) = match range.split_once('-') {
        None => (range, range),
        Some(bounds) => bounds,
    };
    let (first, last) = (number(first, "an index")?, number(last, "an index")?);
    if step == 0 {
        return Err("has a step of 0: give at least 1 behind `:`".to_owned());
    }
    if last < first {
        return Err(format!("ends before it begins: write {last}-{first}"));
    }
    if last > INDEX_LIMIT {
        return Err(format!("has an index above {INDEX_LIMIT}"));
    }
    Ok(RangeSet::progression(first, last, step))
}

fn join(parts: &[RangeSet]) -> Result<RangeSet, String> {
    let mut all = RangeSet::default();
    for part in parts {
        for index in part.iter().take(COUNT_LIMIT as usize + 1) {
            if !all.insert(index) {
                return Err(format!("has {index} twice"));
            }
        }
        if all.len() > COUNT_LIMIT || all.runs().count() > RANGES_LIMIT {
            return Err(format!("has too many separate ranges: {RANGES_LIMIT} are the most"));
        }
    }
    Ok(all)
}

fn number(text: &str, what: &str) -> Result<u32, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain).ok_or_else(|| {
        let found = if text.is_empty() { "missing".to_owned() } else { "no whole number".to_owned() };
        format!("is no array: {what} is {found}; write one such as 0-99, 0-99:2 (a step) or 0-99%4 (four at a time)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_as_they_are_written() {
        for (text, count, shown) in [
            ("0-99", 100, "0-99"),
            ("7", 1, "7"),
            ("0-99:2", 50, "0-98:2"),
            ("0-99:2%10", 50, "0-98:2%10"),
            ("0-999999%1", 1_000_000, "0-999999%1"),
            ("1,3,10-12", 5, "1,3,10-12"),
            ("5-9,0-4", 10, "0-9"),
            ("0-10:5,1", 4, "0-1,5,10"),
            ("2000000000", 1, "2000000000"),
        ] {
            let array: Array = text.parse().expect(text);
            assert_eq!((array.indices.len(), array.to_string().as_str()), (count, shown));
            assert_eq!(shown.parse::<Array>().expect(shown), array);
        }
    }

    #[test]
    fn what_is_no_array_is_refused_with_a_way_out() {
        for (text, problem) in [
            ("", "missing"),
            ("a-b", "0-99"),
            ("5-1", "1-5"),
            ("0-9:0", "step of 0"),
            ("0-9%0", "at least 1"),
            ("0-9%", "missing"),
            ("1,2,1", "1 twice"),
            ("0-1000000", "1000000 are the most"),
            ("2000000001", "above"),
            ("0--5", "no whole number"),
            ("+1", "no whole number"),
            ("4294967296", "no whole number"),
            ("0-999999:2,1", "too many separate"),
        ] {
            let error = text.parse::<Array>().expect_err(text).to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
