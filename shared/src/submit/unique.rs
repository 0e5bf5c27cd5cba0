//! No key twice: of two values one would be lost without a word, and which one depends on who reads it (RFC 8259, 4).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// Reads a map whose keys are all different.
pub(super) fn map<'de, D: Deserializer<'de>, V: Deserialize<'de>>(from: D) -> Result<BTreeMap<String, V>, D::Error> {
    from.deserialize_map(Unique(PhantomData))
}

struct Unique<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
    type Value = BTreeMap<String, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = from.next_key()? {
            match map.entry(key) {
                Entry::Vacant(place) => drop(place.insert(from.next_value()?)),
                Entry::Occupied(place) => {
                    return Err(A::Error::custom(format_args!("`{}` is there more than once", place.key())));
                }
            }
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use crate::submit::{SubmitRequest, TaskEdit};

    #[test]
    fn a_key_is_there_once_in_each_map() {
        let task = |fields: &str| serde_json::from_str::<SubmitRequest>(&format!(r#"{{"image":"i"{fields}}}"#));
        for good in ["", r#","env":{}"#, r#","env":{"a":"1","b":"1"},"labels":{"a":"1"}"#] {
            task(good).expect(good);
        }
        for bad in [
            r#","env":{"a":"1","a":"1"}"#,
            r#","labels":{"a":"1","b":"2","a":"3"}"#,
            r#","env":{"a":"1","\u0061":"2"}"#,
        ] {
            let error = task(bad).expect_err(bad).to_string();
            assert!(error.contains("`a` is there more than once"), "{error}");
        }
        assert!(task(r#","env":{},"env":{}"#).is_err());
        assert!(serde_json::from_str::<TaskEdit>(r#"{"labels":{"a":null,"a":"1"}}"#).is_err());
    }
}
