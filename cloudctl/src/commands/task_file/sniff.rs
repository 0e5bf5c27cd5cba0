//! What a file is whose name does not say it.

use serde_json::Value;

use super::{FileType, parse as parse_as};

/// Whether the text that begins with this line has one task a line.
pub(super) fn is_jsonl(line: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(line) {
        Ok(Value::Object(object)) => !object.contains_key("tasks"),
        _ => false,
    }
}

/// The documents of a text. If it is nothing that can be read, the error is of what it looks most like.
pub(super) fn parse(text: &str) -> Result<Vec<Value>, String> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let looks_like = if first.starts_with("[[") || (first.starts_with('[') && !first.contains('{')) {
        FileType::Toml
    } else if first.starts_with(['{', '[']) {
        FileType::Json
    } else if first.split('=').next().is_some_and(|name| name != first && !name.contains(':')) {
        FileType::Toml
    } else {
        FileType::Yaml
    };
    let likely = parse_as(looks_like, text);
    if likely.is_ok() {
        return likely;
    }
    let others = [FileType::Json, FileType::Toml].into_iter().filter(|other| *other != looks_like);
    others.map(|other| parse_as(other, text)).find(Result::is_ok).unwrap_or(likely)
}
