//! One value per setting out of five layers: default < file < `.env` < environment < flag.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::dotenv::DotEnv;
use super::file::{FileLayer, nearest};
use super::machine::Machine;
use super::problem::Problem;
use super::table::{self, Fallback, Role, Setting};

/// What our own variables begin with.
const PREFIX: &str = "CLOUDAI_";

/// Where a value came from. A later variant wins over an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    Default,
    /// Another program's variable, which serves as default.
    Borrowed(&'static str),
    /// The configuration file.
    File(PathBuf),
    /// `.env` in the working directory.
    DotEnv(&'static str),
    /// The environment.
    Env(&'static str),
    /// The command line.
    Flag(&'static str),
}

impl Origin {
    /// Which layer, whatever the name on it.
    #[must_use]
    pub fn layer(&self) -> &'static str {
        match self {
            Self::Default | Self::Borrowed(_) => "default",
            Self::File(_) => "file",
            Self::DotEnv(_) => ".env",
            Self::Env(_) => "env",
            Self::Flag(_) => "flag",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Borrowed(name) | Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::DotEnv(name) => write!(f, ".env {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// A value as text, and where it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// As the flag would carry it.
    pub text: String,
    /// See [`Origin`].
    pub origin: Origin,
}

impl fmt::Debug for Value {
    /// Without the text: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.origin).finish()
    }
}

/// Everything that values are taken from, already read.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// By the names of the flags.
    pub flags: BTreeMap<&'static str, String>,
    /// The environment; a variable that is set but empty counts as not set.
    pub env: BTreeMap<String, String>,
    /// `.env`.
    pub dotenv: DotEnv,
    /// The configuration file, if there is one.
    pub file: Option<(PathBuf, FileLayer)>,
    /// For defaults.
    pub machine: Machine,
    /// What went wrong while these were read.
    pub problems: Vec<Problem>,
    /// Worth a line in the log, no more.
    pub warnings: Vec<String>,
}

impl Layers {
    /// Reads the real ones: the file if one was named, `.env` in the working directory, and the environment.
    #[must_use]
    pub fn read(flags: BTreeMap<&'static str, String>, file: Option<&Path>) -> Self {
        let mut layers = Self { flags, machine: Machine::here(), ..Self::default() };
        layers.take_env(std::env::vars_os());
        layers.take_dotenv(Path::new(".env"));
        if let Some(path) = file {
            layers.take_file(path);
        }
        layers
    }

    fn take_env(&mut self, variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>) {
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            let row = table::ALL.iter().find(|row| row.env == name);
            match (value.into_string(), row) {
                (Ok(value), _) => {
                    self.env.insert(name, value);
                }
                (Err(_), Some(row)) => self.problems.push(Problem {
                    setting: row.name.to_owned(),
                    message: "the value is not UTF-8".to_owned(),
                    origin: Some(Origin::Env(row.env).to_string()),
                    missing: false,
                }),
                (Err(_), None) => {}
            }
        }
        self.warn_of_misspelt_variables();
    }

    fn warn_of_misspelt_variables(&mut self) {
        let known = table::ALL.iter().filter_map(|row| row.env.strip_prefix(PREFIX));
        for name in self.env.keys().filter_map(|name| name.strip_prefix(PREFIX)) {
            if name == "CONFIG" || known.clone().any(|known| known == name) {
                continue;
            }
            if let Some(near) = nearest(name, &known) {
                let warning = format!("{PREFIX}{name} is no setting and is ignored; did you mean {PREFIX}{near}?");
                self.warnings.push(warning);
            }
        }
    }

    fn take_dotenv(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                self.dotenv = DotEnv::parse(&text);
                self.warnings.extend(self.dotenv.warnings.iter().cloned());
                self.warn_of_readable_secrets(path);
            }
            // A directory of that name is a Python habit, and no settings.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {}
            Err(error) => self.warnings.push(format!(".env cannot be read and is ignored: {error}")),
        }
    }

    fn warn_of_readable_secrets(&mut self, path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let readable = std::fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & 0o077 != 0);
        let secret = table::ALL.iter().find(|row| row.is_secret() && self.dotenv.variables.contains_key(row.env));
        if let Some(row) = secret.filter(|_| readable) {
            self.warnings.push(format!(".env holds {} and others may read it; run `chmod 600 .env`", row.env));
        }
    }

    fn take_file(&mut self, path: &Path) {
        let origin = Some(Origin::File(path.to_owned()).to_string());
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let layer = FileLayer::parse(&text);
                self.problems.extend(layer.problems.iter().map(|problem| Problem {
                    setting: if problem.key.is_empty() { "--config".to_owned() } else { problem.key.clone() },
                    message: problem.message.clone(),
                    origin: origin.clone(),
                    missing: false,
                }));
                self.file = Some((path.to_owned(), layer));
            }
            Err(error) => self.problems.push(Problem {
                setting: "--config".to_owned(),
                message: format!("the file cannot be read: {error}"),
                origin,
                missing: false,
            }),
        }
    }

    /// The value of a setting for a role.
    #[must_use]
    pub fn value(&self, row: &'static Setting, role: Role) -> Option<Value> {
        let value = |text: &str, origin| Value { text: text.to_owned(), origin };
        let flag = row.flag.and_then(|flag| Some(value(self.flags.get(flag)?, Origin::Flag(flag))));
        flag.or_else(|| Some(value(set(&self.env, row.env)?, Origin::Env(row.env))))
            .or_else(|| Some(value(set(&self.dotenv.variables, row.env)?, Origin::DotEnv(row.env))))
            .or_else(|| {
                let (path, layer) = self.file.as_ref()?;
                Some(value(layer.values.get(row.name)?, Origin::File(path.clone())))
            })
            .or_else(|| self.default_of(row, role))
    }

    fn default_of(&self, row: &Setting, role: Role) -> Option<Value> {
        let text = match row.default {
            Fallback::Unset => None,
            Fallback::Text(text) => Some(text.to_owned()),
            Fallback::Computed(compute) => compute(&self.machine, role),
            Fallback::Borrowed(variable, otherwise) => match set(&self.env, variable) {
                Some(text) => return Some(Value { text: text.to_owned(), origin: Origin::Borrowed(variable) }),
                None => Some(otherwise.to_owned()),
            },
        };
        Some(Value { text: text?, origin: Origin::Default })
    }
}

fn set<'a>(variables: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    fn http(layers: &Layers) -> (String, String) {
        let value = layers.value(&table::HTTP, Role::Master).expect("it has a default");
        (value.text, value.origin.to_string())
    }

    #[test]
    fn each_layer_wins_over_those_below_it() {
        let mut layers = Layers::default();
        assert_eq!(http(&layers), ("127.0.0.1:8080".into(), "default".into()));
        layers.file = Some(("/etc/c.toml".into(), FileLayer::parse("[master]\nhttp = \"file\"")));
        assert_eq!(http(&layers), ("file".into(), "file /etc/c.toml".into()));
        layers.dotenv = DotEnv::parse("CLOUDAI_HTTP=dotenv");
        assert_eq!(http(&layers), ("dotenv".into(), ".env CLOUDAI_HTTP".into()));
        layers.env = one("CLOUDAI_HTTP", "env");
        assert_eq!(http(&layers), ("env".into(), "env CLOUDAI_HTTP".into()));
        layers.flags.insert("http", "flag".into());
        assert_eq!(http(&layers), ("flag".into(), "flag --http".into()));
    }

    #[test]
    fn a_variable_that_is_empty_is_not_set() {
        let layers = Layers { env: one("CLOUDAI_HTTP", ""), ..Layers::default() };
        assert_eq!(http(&layers).1, "default");
    }

    #[test]
    fn another_programs_variable_is_only_a_default() {
        let docker = |layers: &Layers| {
            let value = layers.value(&table::DOCKER_HOST, Role::Worker).expect("it has a default");
            (value.text, value.origin.to_string())
        };
        let mut layers = Layers { env: one("DOCKER_HOST", "unix:///run/d.sock"), ..Layers::default() };
        assert_eq!(docker(&layers), ("unix:///run/d.sock".into(), "env DOCKER_HOST".into()));
        layers.file = Some(("c".into(), FileLayer::parse("[worker]\ndocker_host = \"unix:///f\"")));
        assert_eq!(docker(&layers).0, "unix:///f");
    }

    #[test]
    fn defaults_depend_on_the_role() {
        let layers = Layers::default();
        let print = |role| layers.value(&table::PRINT_TASK_LOGS, role).map(|value| value.text);
        assert_eq!(print(Role::Master).as_deref(), Some("false"));
        assert_eq!(print(Role::Dev).as_deref(), Some("true"));
    }

    #[test]
    fn a_misspelt_variable_is_worth_a_warning() {
        let mut layers = Layers::default();
        layers.take_env(
            [("CLOUDAI_HTPP", "x"), ("CLOUDAI_HTTP", "y"), ("CLOUDAI_SOMETHING_ELSE", "z")].map(os).into_iter(),
        );
        assert_eq!(layers.warnings, ["CLOUDAI_HTPP is no setting and is ignored; did you mean CLOUDAI_HTTP?"]);
    }

    fn os((name, value): (&str, &str)) -> (std::ffi::OsString, std::ffi::OsString) {
        (name.into(), value.into())
    }

    #[test]
    fn a_dotenv_file_with_a_secret_that_others_can_read_is_worth_a_warning() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(".env");
        std::fs::write(&path, "JWT_SECRET=x\nbad line\n").expect("written");
        for (mode, warnings) in [(0o644, 2), (0o600, 1)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("set");
            let mut layers = Layers::default();
            layers.take_dotenv(&path);
            assert_eq!(layers.warnings.len(), warnings, "{:?}", layers.warnings);
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem() {
        let mut layers = Layers::default();
        layers.take_file(Path::new("/nowhere/c.toml"));
        assert!(layers.problems[0].to_string().contains("(from file /nowhere/c.toml)"), "{:?}", layers.problems);
    }
}
