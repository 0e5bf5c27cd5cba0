//! The fields of results, as `cloudctl help json` documents them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Of the fields of results. It grows when a field goes, or comes to mean something else; new fields may come at any
/// time.
pub(crate) const OUTPUT_VERSION: u32 = 1;

/// The topic itself.
const TEXT: &str = include_str!("json.txt");

/// By kind: the fields of its own, each with its type.
static KINDS: LazyLock<BTreeMap<&str, Vec<(&str, &str)>>> = LazyLock::new(|| {
    let mut kinds: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut kind = "";
    for line in TEXT.lines() {
        if let Some(heading) = line.strip_prefix("== ") {
            kind = heading.split(':').next().unwrap_or(heading);
            kinds.entry(kind).or_default();
        } else if let Some(field) = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ') && !kind.is_empty()) {
            let mut words = field.split("  ").map(str::trim).filter(|word| !word.is_empty());
            if let (Some(name), Some(what)) = (words.next(), words.next()) {
                kinds.entry(kind).or_default().push((name, what));
            }
        }
    }
    kinds
});

/// The fields of a kind of item, those of objects in it with dots: `verdict.kind`. `labels.*` has any names.
pub(crate) fn fields(kind: &str) -> Vec<String> {
    let mut fields = Vec::new();
    collect(kind, "", &mut fields);
    fields
}

fn collect(kind: &str, prefix: &str, fields: &mut Vec<String>) {
    for (name, what) in KINDS.get(kind).map(Vec::as_slice).unwrap_or_default() {
        let path = format!("{prefix}{name}");
        // What is in lists has no path of its own.
        let of_list = what.starts_with("list");
        match what.trim_end_matches('?') {
            "map" => fields.push(format!("{path}.*")),
            other if !of_list && KINDS.contains_key(other) => collect(other, &format!("{path}."), fields),
            _ => {}
        }
        fields.push(path);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::render::sample;

    /// The paths of everything in it; what is in lists and maps goes by the type of its items.
    fn check(kind: &str, value: &Value, seen: &mut BTreeSet<(String, String)>, problems: &mut Vec<String>) {
        let Some(documented) = KINDS.get(kind) else {
            problems.push(format!("{kind} is not documented"));
            return;
        };
        let Value::Object(object) = value else {
            problems.push(format!("{kind} is {value}"));
            return;
        };
        for (name, value) in object {
            seen.insert((kind.to_owned(), name.clone()));
            let Some((_, what)) = documented.iter().find(|(documented, _)| documented == name) else {
                problems.push(format!("{kind}.{name} is not documented"));
                continue;
            };
            let is_optional = what.ends_with('?');
            let what = what.trim_end_matches('?');
            if value.is_null() {
                if !is_optional {
                    problems.push(format!("{kind}.{name} may be null"));
                }
                continue;
            }
            let fits = match (what, value) {
                ("text" | "time", Value::String(_))
                | ("number", Value::Number(_))
                | ("bool", Value::Bool(_))
                | ("map", Value::Object(_))
                | ("text or list", Value::String(_) | Value::Array(_)) => true,
                (list, Value::Array(items)) if list.starts_with("list of ") => {
                    let of = list.trim_start_matches("list of ");
                    for item in items.iter().filter(|item| item.is_object()) {
                        check(of, item, seen, problems);
                    }
                    true
                }
                (object, Value::Object(_)) => {
                    check(object, value, seen, problems);
                    true
                }
                _ => false,
            };
            if !fits {
                problems.push(format!("{kind}.{name} is {value} and not {what}"));
            }
        }
    }

    #[test]
    fn every_field_is_documented_and_every_documented_field_can_be() {
        let (mut seen, mut problems) = (BTreeSet::new(), Vec::new());
        for (kind, value) in sample::all_items() {
            check(kind, &value, &mut seen, &mut problems);
        }
        for (kind, fields) in KINDS.iter() {
            let never = fields.iter().filter(|(name, _)| !seen.contains(&((*kind).to_owned(), (*name).to_owned())));
            problems.extend(never.map(|(name, _)| format!("{kind}.{name} is documented and never there")));
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn fields_of_objects_go_by_their_path() {
        let task = fields("task");
        for path in ["task_id", "verdict", "verdict.kind", "resources.cpu_millis", "labels", "labels.*", "attempts"] {
            assert!(task.iter().any(|field| field == path), "{path}");
        }
        assert!(!task.iter().any(|field| field.starts_with("attempts.")));
        assert!(fields("stats").iter().any(|field| field == "worker.usage.cpu_percent"));
        assert!(fields("nonsense").is_empty());
    }
}
