//! From documents to tasks.

use serde_json::{Map, Value};
use shared::submit::SubmitRequest;

/// The tasks in them, and whether it is one that does not stand in a list.
pub(super) fn collect(documents: Vec<Value>) -> Result<(Vec<SubmitRequest>, bool), String> {
    let documents: Vec<_> = documents.into_iter().filter(|document| !document.is_null()).collect();
    let single = documents.len() == 1;
    let mut tasks = Vec::new();
    let mut is_one = false;
    for document in documents {
        match document {
            Value::Array(items) => tasks.extend(items.into_iter().map(|item| (item, Map::new()))),
            Value::Object(mut object) if object.contains_key("tasks") => {
                let Some(Value::Array(items)) = object.remove("tasks") else {
                    return Err("`tasks` is no list".to_owned());
                };
                let defaults = match object.remove("defaults") {
                    None => Map::new(),
                    Some(Value::Object(defaults)) => defaults,
                    Some(_) => return Err("`defaults` is no table".to_owned()),
                };
                if let Some(key) = object.keys().next() {
                    return Err(format!("`{}` beside `tasks`: put it into `defaults`", key.escape_debug()));
                }
                tasks.extend(items.into_iter().map(|item| (item, defaults.clone())));
            }
            task @ Value::Object(_) => {
                is_one = single;
                tasks.push((task, Map::new()));
            }
            _ => return Err("there is no object and no list of objects in it".to_owned()),
        }
    }
    let tasks: Result<Vec<_>, _> = tasks
        .into_iter()
        .enumerate()
        .map(|(number, (task, defaults))| {
            let place = if is_one { String::new() } else { format!("task {}: ", number + 1) };
            of_value(with_defaults(task, defaults)).map_err(|cause| format!("{place}{cause}"))
        })
        .collect();
    Ok((tasks?, is_one))
}

/// What the task does not have, it has from `defaults`; of variables and labels, each for itself.
fn with_defaults(mut task: Value, defaults: Map<String, Value>) -> Value {
    if let Value::Object(task) = &mut task {
        for (key, default) in defaults {
            match (task.get_mut(&key), default) {
                (None, default) => {
                    task.insert(key, default);
                }
                (Some(Value::Object(own)), Value::Object(default)) => {
                    for (name, value) in default {
                        own.entry(name).or_insert(value);
                    }
                }
                (Some(_), _) => {}
            }
        }
    }
    task
}

/// A task, or what is wrong with it.
pub(super) fn of_value(value: Value) -> Result<SubmitRequest, String> {
    if !value.is_object() {
        return Err("it is no object with the fields of a task".to_owned());
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (path, cause) = (error.path().to_string(), error.inner().to_string());
        // A field that is missing or unknown is named already.
        if path == "." || cause.contains(&format!("`{path}`")) { cause } else { format!("{path}: {cause}") }
    })
}
