//! Records to documents that a person can read in a Mongo shell, and back.
//!
//! A document is what the record is in JSON, with what JSON has no types for: times are dates, numbers are 64-bit
//! integers, digests are binary, paths are texts where they can be. Labels and variables are lists of `name` and `value`,
//! because a field can neither be called `a.b` nor `$a` everywhere.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::time::WallTime;

use crate::store::StoreError;

/// The names of objects that have names of people's choice.
const FREE: [&str; 2] = ["env", "labels"];

/// A list of objects whose paths are texts, as they are shown to people; elsewhere paths are of any bytes.
const SHOWN: &str = "largest";

/// The bounds of a range of indices.
const FROM: &str = "from";
const BEFORE: &str = "before";

/// Numbers that are too large for a signed integer, 8 bytes each: nothing real has them.
const HUGE: BinarySubtype = BinarySubtype::UserDefined(0x80);

/// The document of a record, of which the field `id` becomes `_id`.
pub(super) fn to_document(record: &impl Serialize, id: &str) -> Result<Document, StoreError> {
    let value = serde_json::to_value(record).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let Bson::Document(mut document) = to_bson("", value) else {
        return Err(StoreError::Corrupt("a record that is no object".into()));
    };
    if let Some(id) = document.remove(id) {
        document.insert("_id", id);
    }
    Ok(document)
}

/// A part of a record.
pub(super) fn part(record: &impl Serialize) -> Result<Bson, StoreError> {
    let value = serde_json::to_value(record).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(to_bson("", value))
}

/// The record of a document of `collection`.
pub(super) fn from_document<T: DeserializeOwned>(
    collection: &str,
    id: &str,
    mut document: Document,
) -> Result<T, StoreError> {
    let shown = document.get("_id").map(ToString::to_string).unwrap_or_default();
    if let Some(found) = document.remove("_id") {
        document.insert(id, found);
    }
    serde_json::from_value(to_value("", Bson::Document(document)))
        .map_err(|error| StoreError::Corrupt(format!("{collection} {shown}: {error}")))
}

/// The fields of the document `within` stand in the outer one: `key: {task, index}` becomes `task, index`.
pub(super) fn lift(document: &mut Document, within: &str) {
    if let Some(Bson::Document(inner)) = document.remove(within) {
        document.extend(inner);
    }
}

/// The reverse of [`lift`].
pub(super) fn lower(document: &mut Document, within: &str, names: &[&str]) {
    let inner: Document =
        names.iter().filter_map(|name| document.remove(name).map(|value| ((*name).to_owned(), value))).collect();
    document.insert(within, inner);
}

/// A time.
pub(super) fn date(time: WallTime) -> DateTime {
    DateTime::from_millis(time.0)
}

/// A label as it is searched for: `name=value`, in which the first `=` without a `\` before it ends the name.
pub(super) fn label(name: &str, value: &str) -> String {
    format!("{}={value}", name.replace('\\', "\\\\").replace('=', "\\="))
}

fn is_time(name: &str) -> bool {
    name.ends_with("_at") || name.ends_with("_until") || name == "since" || name == "at"
}

fn to_bson(name: &str, value: Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Bson::Int64(number),
            (None, Some(huge)) => Bson::Binary(Binary { subtype: HUGE, bytes: huge.to_be_bytes().to_vec() }),
            (None, None) => Bson::Double(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => match text.parse::<WallTime>() {
            Ok(time) if is_time(name) => Bson::DateTime(date(time)),
            Ok(_) | Err(_) => Bson::String(text),
        },
        Value::Array(values) => match bytes(name, &values) {
            Some(bytes) if name == "path" => path(bytes),
            Some(bytes) => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes }),
            None => Bson::Array(values.into_iter().map(item).collect()),
        },
        Value::Object(fields) if FREE.contains(&name) => {
            let named = |(name, value): (String, Value)| {
                Bson::Document(doc! { "name": name, "value": to_bson("value", value) })
            };
            Bson::Array(fields.into_iter().map(named).collect())
        }
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Bson::Document(fields.map(|(name, value)| (name.clone(), to_bson(&name, value))).collect())
        }
    }
}

/// A list in a list is a range; not every server takes it as it is.
fn item(value: Value) -> Bson {
    match value {
        Value::Array(bounds) if bounds.len() == 2 => {
            let mut bounds = bounds.into_iter().map(|bound| to_bson("", bound));
            let range = [FROM, BEFORE].into_iter().zip(&mut bounds);
            Bson::Document(range.map(|(name, bound)| (name.to_owned(), bound)).collect())
        }
        other => to_bson("", other),
    }
}

/// The bytes that a list of numbers is, where its name says so.
fn bytes(name: &str, values: &[Value]) -> Option<Vec<u8>> {
    if !matches!(name, "path" | "digest" | "blake3" | "key" | "chain") {
        return None;
    }
    values.iter().map(|value| value.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect()
}

/// As text, if it is one that every server takes.
pub(super) fn path(bytes: Vec<u8>) -> Bson {
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Bson::String(text),
        Ok(text) => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: text.into_bytes() }),
        Err(error) => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: error.into_bytes() }),
    }
}

fn numbers(bytes: &[u8]) -> Value {
    Value::Array(bytes.iter().map(|byte| Value::from(*byte)).collect())
}

fn to_value(name: &str, value: Bson) -> Value {
    match value {
        Bson::Boolean(value) => Value::Bool(value),
        Bson::Int32(number) => Value::from(number),
        Bson::Int64(number) => Value::from(number),
        Bson::Double(number) => whole(number).map_or_else(|| Value::from(number), Value::from),
        Bson::String(text) if name == "path" => numbers(text.as_bytes()),
        Bson::String(text) => Value::String(text),
        Bson::DateTime(time) => Value::String(WallTime(time.timestamp_millis()).to_string()),
        Bson::Binary(binary) if binary.subtype == HUGE => {
            let huge = <[u8; 8]>::try_from(binary.bytes.as_slice());
            huge.map_or(Value::Null, |bytes| Value::from(u64::from_be_bytes(bytes)))
        }
        Bson::Binary(binary) => numbers(&binary.bytes),
        Bson::Array(values) if FREE.contains(&name) => Value::Object(values.into_iter().filter_map(named).collect()),
        Bson::Array(values) => {
            let within = if name == SHOWN { SHOWN } else { "" };
            Value::Array(values.into_iter().map(|value| to_value(within, value)).collect())
        }
        Bson::Document(range) if range.len() == 2 && range.contains_key(FROM) && range.contains_key(BEFORE) => {
            let bound = |name| range.get(name).cloned().map_or(Value::Null, |bound| to_value("", bound));
            Value::Array(vec![bound(FROM), bound(BEFORE)])
        }
        Bson::Document(document) => {
            let field = |(field, value): (String, Bson)| match value {
                Bson::String(text) if name == SHOWN => (field, Value::String(text)),
                value => (field.clone(), to_value(&field, value)),
            };
            Value::Object(document.into_iter().map(field).collect())
        }
        // Nothing that was written here.
        _ => Value::Null,
    }
}

/// A shell writes every number as a double.
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

fn named(value: Bson) -> Option<(String, Value)> {
    let Bson::Document(mut document) = value else { return None };
    let (Some(Bson::String(name)), Some(value)) = (document.remove("name"), document.remove("value")) else {
        return None;
    };
    Some((name, to_value("value", value)))
}
