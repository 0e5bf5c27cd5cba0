//! What a task asks of one label.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::submit::TEXT_LIMIT;
use crate::worker::{is_label_name, is_label_value};

/// A wish about one label, as a text: `disk=ssd` (its value is this), `disk` (it is there, whatever its value), `disk!=ssd` (its
/// value is another one, or it is not there).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LabelWish {
    name: String,
    value: Wanted,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    Any,
    This(String),
    NotThis(String),
}

impl LabelWish {
    /// The name of the label that it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The label as a worker is wanted to have it, or, where [`Self::is_ban`], not to have it: `disk=ssd`, or `disk`.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.value {
            Wanted::Any => self.name.clone(),
            Wanted::This(value) | Wanted::NotThis(value) => format!("{}={value}", self.name),
        }
    }

    /// Whether it keeps a task off those who have the label, and not off those who do not.
    #[must_use]
    pub fn is_ban(&self) -> bool {
        matches!(self.value, Wanted::NotThis(_))
    }

    /// Whether a worker with these labels will do.
    #[must_use]
    pub fn is_met_by(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = labels.get(&self.name);
        match &self.value {
            Wanted::Any => has.is_some(),
            Wanted::This(value) => has == Some(value),
            Wanted::NotThis(value) => has != Some(value),
        }
    }

    /// Whether no labels meet both.
    pub(super) fn contradicts(&self, other: &Self) -> bool {
        let exclusive = match (&self.value, &other.value) {
            (Wanted::This(one), Wanted::This(another)) => one != another,
            (Wanted::This(wanted), Wanted::NotThis(banned)) | (Wanted::NotThis(banned), Wanted::This(wanted)) => {
                wanted == banned
            }
            (Wanted::NotThis(_), Wanted::NotThis(_)) | (Wanted::Any, _) | (_, Wanted::Any) => false,
        };
        self.name == other.name && exclusive
    }
}

/// No wish about a label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` asks for no label: give KEY=VALUE, KEY (whatever its value) or KEY!=VALUE, one at a time and without commas, at \
     most {most} characters each",
    most = TEXT_LIMIT
)]
pub struct InvalidLabelWish(String);

impl FromStr for LabelWish {
    type Err = InvalidLabelWish;
    fn from_str(text: &str) -> Result<Self, InvalidLabelWish> {
        let text = text.trim();
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let banned = value.and_then(|_| name.strip_suffix('!'));
        let name = banned.unwrap_or(name);
        let is_good = is_label_name(name) && value.is_none_or(is_label_value);
        if !is_good {
            return Err(InvalidLabelWish(text.chars().take(40).collect::<String>().escape_debug().to_string()));
        }
        let value = match value.map(str::to_owned) {
            None => Wanted::Any,
            Some(value) if banned.is_some() => Wanted::NotThis(value),
            Some(value) => Wanted::This(value),
        };
        Ok(Self { name: name.to_owned(), value })
    }
}

impl fmt::Display for LabelWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Wanted::Any => f.write_str(&self.name),
            Wanted::This(value) => write!(f, "{}={value}", self.name),
            Wanted::NotThis(value) => write!(f, "{}!={value}", self.name),
        }
    }
}

impl From<LabelWish> for String {
    fn from(wish: LabelWish) -> Self {
        wish.to_string()
    }
}

impl TryFrom<String> for LabelWish {
    type Error = InvalidLabelWish;
    fn try_from(text: String) -> Result<Self, InvalidLabelWish> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back_as_written() {
        for text in ["disk=ssd", "disk", "disk!=ssd", "disk=", "disk!=", "a=b=c", "a=!b", "a=b!", "a b=c d", "größe=ä"]
        {
            assert_eq!(text.parse::<LabelWish>().expect(text).to_string(), text);
        }
        assert_eq!(" disk=ssd ".parse::<LabelWish>().expect("a wish").to_string(), "disk=ssd");
    }

    #[test]
    fn what_no_label_can_be_is_refused_with_what_to_write() {
        let long = "x".repeat(TEXT_LIMIT + 1);
        for bad in ["", " ", "=ssd", "!=ssd", "!disk", "disk!", "disk!!=ssd", "a=1,b=2", "a,b", "a\u{1b}", "a=\n1"] {
            let error = bad.parse::<LabelWish>().expect_err(bad).to_string();
            assert!(error.contains("give KEY=VALUE, KEY (whatever its value) or KEY!=VALUE"), "{error}");
            assert!(!error.contains('\u{1b}') && !error.contains('\n'), "{error}");
        }
        for bad in [long.clone(), format!("a={long}"), format!("a!={long}")] {
            assert!(bad.parse::<LabelWish>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_that_is_not_there_has_no_value() {
        let met = |text: &str, labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            text.parse::<LabelWish>().expect(text).is_met_by(&labels)
        };
        for (text, ssd, empty, absent) in [
            ("disk", true, true, false),
            ("disk=ssd", true, false, false),
            ("disk=", false, true, false),
            ("disk!=ssd", false, true, true),
            ("disk!=", true, false, true),
        ] {
            let found = (met(text, &[("disk", "ssd")]), met(text, &[("disk", "")]), met(text, &[("Disk", "ssd")]));
            assert_eq!(found, (ssd, empty, absent), "{text}");
        }
    }
}
