//! Parses JSON so that a refusal names the field.

use serde::de::DeserializeOwned;
use serde_json::error::Category;
use shared::error::ApiError;

use super::error::invalid;

/// Parses the whole of `text`, which must be an object: serde would take a list for the fields in their order.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(invalid("the body is a list", "send one object, {...}"));
    }
    serde_json::from_slice(text).map_err(|error| explain(text, &error))
}

fn explain(text: &[u8], error: &serde_json::Error) -> ApiError {
    if error.classify() != Category::Data {
        return invalid(format!("invalid JSON: {error}"), "check brackets, quotes and commas there");
    }
    let message = error.to_string();
    let message = match message.split_once("data did not match any variant") {
        // What it would say names types of ours.
        Some(_) => format!("of the wrong type at line {} column {}", error.line(), error.column()),
        None => message,
    };
    let path = path_at(text, error.line(), error.column());
    let message = if path.is_empty() { message } else { format!("{path}: {message}") };
    invalid(message, "check the names and the types of the fields")
}

/// The keys that lead to the value which ends at a place of a JSON text, joined with dots.
fn path_at(text: &[u8], line: usize, column: usize) -> String {
    let before = text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
    let end = text.len().min(before.map(<[u8]>::len).sum::<usize>() + column);
    let mut rest = &text[..end];
    // Per open object or array the key whose value we are in.
    let mut path: Vec<Option<String>> = Vec::new();
    let mut word: Option<String> = None;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => {
                let length = string_length(rest);
                word = Some(String::from_utf8_lossy(&rest[..length]).chars().take(80).collect());
                rest = &rest[rest.len().min(length + 1)..];
            }
            b':' => {
                if let Some(key) = path.last_mut() {
                    *key = word.take();
                }
            }
            b'{' | b'[' => path.push(None),
            // The place itself may be the bracket that ends the value.
            b'}' | b']' if !rest.is_empty() => drop(path.pop()),
            b',' if !rest.is_empty() => {
                if let Some(key) = path.last_mut() {
                    *key = None;
                }
            }
            _ => {}
        }
    }
    path.into_iter().flatten().collect::<Vec<_>>().join(".").escape_debug().to_string()
}

/// Bytes up to the quote that ends a string.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use shared::submit::SubmitRequest;

    use super::*;

    fn message(text: &str) -> String {
        parse::<SubmitRequest>(text.as_bytes()).expect_err(text).message
    }

    #[test]
    fn refusals_name_the_field() {
        for (text, field) in [
            (r#"{"image":"a","count":"x"}"#, "count: "),
            (r#"{"image":"a","count":-1,"name":"b"}"#, "count: "),
            (r#"{"name":"b","image":7}"#, "image: "),
            (r#"{"image":"a","env":{"A":"1","B":{"x":[1]}}}"#, "env.B"),
            ("{\"image\":\"a\",\n \"labels\":{\"q\\\"uote\": 1}}", "labels.q"),
            (r#"{"image":"a","command":7}"#, "command: "),
            (r#"{"image":"a","cpus":2}"#, "`cpus`"),
            (r#"{"name":"b"}"#, "`image`"),
            (r#"{"image":"a","image":"b"}"#, "`image`"),
        ] {
            assert!(message(text).contains(field), "{text}: {}", message(text));
        }
        assert!(!message(r#"{"image":"a","command":7}"#).contains("variant"));
    }

    #[test]
    fn broken_json_says_where() {
        assert!(message("{\"image\":\n \"a\",}").contains("line 2 column 6"), "{}", message("{\"image\":\n \"a\",}"));
        for broken in ["", "{", "[]x", "{\"image\":NaN}", "{\"image\":\"a\"} {}", "\"", "{\"a\\", "nul"] {
            assert!(!message(broken).is_empty());
        }
        let deep = "[".repeat(100_000);
        assert!(message(&format!("{{\"image\":\"a\",\"command\":{deep}")).contains("JSON"));
    }
}
