//! The configuration file as a flat list: `[master] http = ...` is `master.http`.

use std::collections::BTreeMap;

use super::table;

/// What a file says, and what of it cannot be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileLayer {
    /// By the names of the settings.
    pub values: BTreeMap<&'static str, String>,
    /// One per wrong key.
    pub problems: Vec<FileProblem>,
}

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// As written.
    pub key: String,
    /// Why, and what to do.
    pub message: String,
}

impl FileLayer {
    /// Reads a file's text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut layer = Self::default();
        match text.parse::<toml::Table>() {
            Ok(root) => layer.take_table("", &root),
            Err(error) => layer.refuse("", format!("it is not TOML: {}", error.to_string().trim_end())),
        }
        layer
    }

    fn take_table(&mut self, path: &str, table: &toml::Table) {
        for (key, value) in table {
            let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let row = table::ALL.iter().find(|row| row.name == name);
            match (row, value) {
                (Some(row), _) if !row.in_file() => {
                    let message = format!("secrets are not kept in this file; set {} or put it into .env", row.env);
                    self.refuse(&name, message);
                }
                (Some(row), value) => match to_text(value) {
                    Some(text) => {
                        self.values.insert(row.name, text);
                    }
                    None => self.refuse(&name, "a text, number, list or `{ name = \"value\" }` belongs here".into()),
                },
                (None, toml::Value::Table(inner)) if is_section(&name) => self.take_table(&name, inner),
                (None, _) => self.refuse(&name, unknown(&name)),
            }
        }
    }

    fn refuse(&mut self, key: &str, message: String) {
        self.problems.push(FileProblem { key: key.to_owned(), message });
    }
}

fn is_section(name: &str) -> bool {
    table::ALL.iter().any(|row| row.name.split_once('.').is_some_and(|(section, _)| section == name))
}

/// Lists become texts with commas and tables `name=value` texts, as in the environment and in flags.
fn to_text(value: &toml::Value) -> Option<String> {
    let all = |parts: Vec<Option<String>>| parts.into_iter().collect::<Option<Vec<_>>>().map(|parts| parts.join(","));
    match value {
        toml::Value::Array(items) => all(items.iter().map(scalar).collect()),
        toml::Value::Table(items) => {
            all(items.iter().map(|(key, value)| Some(format!("{key}={}", scalar(value)?))).collect())
        }
        scalar_value => scalar(scalar_value),
    }
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}

fn unknown(name: &str) -> String {
    let names = table::ALL.iter().filter(|row| row.in_file()).map(|row| row.name);
    let sections = names.clone().filter_map(|name| Some(name.split_once('.')?.0));
    match nearest(name, &names.chain(sections)) {
        Some(known) => format!("there is no such setting; did you mean `{known}`?"),
        None => "there is no such setting; `cloudaid config show` lists them".to_owned(),
    }
}

/// The known name that a typing error, or the wrong section, can have turned into `name`.
pub(super) fn nearest<'a>(name: &str, known: &(impl Iterator<Item = &'a str> + Clone)) -> Option<&'a str> {
    let same_key = |candidate: &&str| candidate.rsplit('.').next() == name.rsplit('.').next();
    let near = (name.len() / 3).clamp(1, 3);
    let close = known.clone().map(|candidate| (distance(name, candidate), candidate)).min();
    close.filter(|(distance, _)| *distance <= near).map(|(_, found)| found).or_else(|| known.clone().find(same_key))
}

/// Insertions, deletions and replacements between two texts (Levenshtein). Long ones are far from everything.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 100 {
        return a.len();
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        FileLayer::parse(text).problems.into_iter().map(|p| format!("{}: {}", p.key, p.message)).collect()
    }

    #[test]
    fn every_kind_of_value_becomes_the_text_that_a_flag_would_carry() {
        let layer = FileLayer::parse(
            "[master]\nhttp = \"127.0.0.1:1\"\nplaintext = true\n[worker]\ncpu = 2.5\nmemory = 8\n\
             master = [\"a:1\", \"b:2\"]\nlabels = { disk = \"ssd\", rack = 7 }\n[leases]\nheartbeat = \"1s\"",
        );
        assert_eq!(layer.problems, []);
        let expected = [
            ("leases.heartbeat", "1s"),
            ("master.http", "127.0.0.1:1"),
            ("master.plaintext", "true"),
            ("worker.cpu", "2.5"),
            ("worker.labels", "disk=ssd,rack=7"),
            ("worker.master", "a:1,b:2"),
            ("worker.memory", "8"),
        ];
        assert_eq!(layer.values, expected.map(|(key, value)| (key, value.to_owned())).into());
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_known_one() {
        assert_eq!(
            problems("[master]\nhtpp = 1\n[maser]\nx = 1\n[worker]\nheartbeat = \"1s\"\n[zzz]\ncolour = 1"),
            [
                "maser: there is no such setting; did you mean `master`?",
                "master.htpp: there is no such setting; did you mean `master.http`?",
                "worker.heartbeat: there is no such setting; did you mean `leases.heartbeat`?",
                "zzz: there is no such setting; `cloudaid config show` lists them",
            ]
        );
        assert_eq!(problems("http = 1"), ["http: there is no such setting; did you mean `master.http`?"]);
    }

    #[test]
    fn secrets_and_what_is_no_value_are_refused() {
        let found = problems("[auth]\njwt_secret = \"x\"\n[leases]\nlease = 2026-01-01\n[log]\nformat = [[1]]");
        assert!(
            found[0].starts_with("auth.jwt_secret: secrets are not kept in this file; set JWT_SECRET"),
            "{found:?}"
        );
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_with_its_line() {
        let found = problems("[master]\nhttp = \n");
        assert!(found[0].contains("line 2"), "{found:?}");
    }
}
