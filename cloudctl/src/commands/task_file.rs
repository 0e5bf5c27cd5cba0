//! Task files: one or many tasks in TOML, YAML, JSON or JSONL.

mod collect;
mod lines;
mod sniff;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::error::exit;
use shared::submit::SubmitRequest;

use crate::args::FileType;
use crate::exit::CtlError;
use collect::collect;
pub(super) use lines::{Line, Lines};

/// What a file of another type than JSONL may have, in bytes: it is held in memory.
const SIZE_LIMIT: u64 = 256 << 20;
const HINT: &str = "`cloudctl help task-file` says how task files are written";

/// The tasks of a file.
pub(super) enum Tasks {
    /// It is one task, and no list of one.
    One(Box<SubmitRequest>),
    /// All of them, read and checked for their form.
    Many(Vec<SubmitRequest>),
    /// They are read while they are sent.
    Lines(Lines),
}

/// Opens a task file; `-` is stdin.
pub(super) fn open(path: &Path, file_type: Option<FileType>) -> Result<Tasks, CtlError> {
    let is_stdin = path.as_os_str() == "-";
    let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let reader: Box<dyn Read + Send> = if is_stdin {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(CtlError::local(format!("cannot read {name}")))?)
    };
    let known = file_type.or_else(|| of_name(path));
    read(BufReader::with_capacity(64 * 1024, reader), name, known)
}

fn of_name(path: &Path) -> Option<FileType> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "toml" => Some(FileType::Toml),
        "yaml" | "yml" => Some(FileType::Yaml),
        "json" => Some(FileType::Json),
        "jsonl" | "ndjson" => Some(FileType::Jsonl),
        _ => None,
    }
}

fn read<R: Read + Send + 'static>(
    mut reader: BufReader<R>,
    name: String,
    known: Option<FileType>,
) -> Result<Tasks, CtlError> {
    if known == Some(FileType::Jsonl) {
        return Ok(Tasks::Lines(Lines::new(name, Vec::new(), reader)));
    }
    let mut head = Vec::new();
    if known.is_none() {
        // A list that is sent while it is made must not be waited for.
        let read = reader.by_ref().take(lines::LINE_LIMIT as u64 + 1).read_until(b'\n', &mut head);
        read.map_err(CtlError::local(format!("cannot read {name}")))?;
        if sniff::is_jsonl(&head) {
            return Ok(Tasks::Lines(Lines::new(name, head, reader)));
        }
    }
    let mut text = head;
    let read = reader.take(SIZE_LIMIT + 1).read_to_end(&mut text);
    read.map_err(CtlError::local(format!("cannot read {name}")))?;
    if text.len() as u64 > SIZE_LIMIT {
        let hint = "write it as JSONL, one task a line, which is sent as it is read";
        return Err(CtlError::refused(exit::DATA, format!("{name} is larger than {} MiB", SIZE_LIMIT >> 20), hint));
    }
    let text = String::from_utf8(text)
        .map_err(|_| CtlError::refused(exit::DATA, format!("{name} is not text in UTF-8"), HINT))?;
    // Some editors mark their files.
    let text = text.trim_start_matches('\u{feff}').to_owned();
    let documents = match known {
        Some(known) => parse(known, &text).map_err(|cause| wrong(&name, &cause))?,
        None => sniff::parse(&text).map_err(|cause| wrong(&name, &cause))?,
    };
    let (mut tasks, is_one) = collect(documents).map_err(|cause| wrong(&name, &cause))?;
    match tasks.pop() {
        None => Err(wrong(&name, "there is no task in it")),
        Some(only) if is_one => Ok(Tasks::One(Box::new(only))),
        Some(last) => {
            tasks.push(last);
            Ok(Tasks::Many(tasks))
        }
    }
}

/// The documents of a text of this type.
fn parse(file_type: FileType, text: &str) -> Result<Vec<Value>, String> {
    match file_type {
        FileType::Toml => {
            let table = text.parse::<toml::Table>().map_err(|error| toml_error(&error, text))?;
            Ok(vec![serde_json::to_value(table).map_err(|error| error.to_string())?])
        }
        FileType::Yaml => yaml(text),
        FileType::Json => Ok(vec![serde_json::from_str(text).map_err(|error| error.to_string())?]),
        FileType::Jsonl => Err("JSONL is read line by line".to_owned()),
    }
}

fn yaml<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    // Below the first line it draws the place.
    let first_line = |text: String| text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    serde_saphyr::from_multiple(text).map_err(|error| first_line(error.to_string()))
}

/// In one line.
fn toml_error(error: &toml::de::Error, text: &str) -> String {
    let Some(span) = error.span() else { return error.message().to_owned() };
    let before = text.get(..span.start).unwrap_or_default();
    let (line, column) = (before.lines().count().max(1), before.lines().last().unwrap_or_default().chars().count() + 1);
    format!("line {line} column {column}: {}", error.message())
}

fn wrong(name: &str, cause: &str) -> CtlError {
    CtlError::refused(exit::DATA, format!("{name}: {}", cause.trim_end()), HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(text: &str, known: Option<FileType>) -> Result<String, CtlError> {
        let reader = BufReader::new(std::io::Cursor::new(text.as_bytes().to_vec()));
        let json = |task: &SubmitRequest| serde_json::to_string(task).expect("json");
        Ok(match read(reader, "f".into(), known)? {
            Tasks::One(task) => json(&task),
            Tasks::Many(tasks) => format!("[{}]", tasks.iter().map(json).collect::<Vec<_>>().join(",")),
            Tasks::Lines(lines) => {
                let lines = lines.map(|line| line.content.map_or_else(|error| error.message, |task| json(&task)));
                lines.collect::<Vec<_>>().join("\n")
            }
        })
    }

    const TWO: &str = r#"[{"image":"i","mem":"2GiB","labels":{"a":"1","b":"2"}},{"image":"j","labels":{"a":"1"}}]"#;

    #[test]
    fn the_same_tasks_in_every_format() {
        let toml = "[defaults]\nimage = \"i\"\n[defaults.labels]\na = \"1\"\n\
                    [[tasks]]\nmem = \"2GiB\"\nlabels = { b = \"2\" }\n[[tasks]]\nimage = \"j\"\n";
        let yaml = "defaults: {image: i, labels: {a: '1'}}\ntasks:\n- mem: 2GiB\n  labels: {b: '2'}\n- image: j\n";
        let documents = "image: i\nmem: 2GiB\nlabels: {a: '1', b: '2'}\n---\nimage: j\nlabels: {a: '1'}\n";
        let json = format!("{{\"tasks\":{TWO}}}");
        for (text, known) in [
            (toml, FileType::Toml),
            (yaml, FileType::Yaml),
            (documents, FileType::Yaml),
            (&json, FileType::Json),
            (TWO, FileType::Json),
        ] {
            assert_eq!(tasks(text, Some(known)).expect(text), TWO, "{text}");
            assert_eq!(tasks(text, None).expect(text), TWO, "{text}");
        }
        let lines = TWO.trim_matches(['[', ']']).replace("},{\"image\"", "}\n{\"image\"");
        assert_eq!(tasks(&lines, None).expect("lines"), lines);
        assert_eq!(tasks(&lines, Some(FileType::Jsonl)).expect("lines"), lines);
    }

    #[test]
    fn one_task_is_no_list() {
        for text in
            ["image = \"i\"\ncommand = \"x\"", "image: i\ncommand: x\n", "{\n \"image\": \"i\", \"command\": \"x\"}"]
        {
            assert_eq!(tasks(text, None).expect(text), r#"{"image":"i","command":"x"}"#);
        }
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, known, words) in [
            ("image = ", FileType::Toml, "line 1"),
            ("image: [", FileType::Yaml, "line"),
            ("{\"image\": 1", FileType::Json, "line 1"),
            ("[[tasks]]\nimage = \"a\"\n[[tasks]]\nimag = \"b\"\n", FileType::Toml, "task 2: unknown field `imag`"),
            ("tasks:\n- {}\n", FileType::Yaml, "task 1: missing field `image`"),
            ("image: i\nenv: {A: 1}\n", FileType::Yaml, "env.A: invalid type: integer `1`, expected a string"),
            ("image: i\ncommand: [echo, 1]\n", FileType::Yaml, "command: a command is one text, or a list of texts"),
            ("tasks: []\n", FileType::Yaml, "no task"),
            ("", FileType::Yaml, "no task"),
            ("tasks: []\nimage: a\n", FileType::Yaml, "`image` beside `tasks`"),
            ("[1]", FileType::Json, "task 1"),
            ("7", FileType::Json, "object"),
        ] {
            let error = tasks(text, Some(known)).expect_err(text);
            assert!(error.to_string().contains(words), "{text}: {error}");
            assert_eq!(error.exit(), exit::DATA);
        }
    }
}
