//! Reads settings into values and collects what is wrong with them, so that all of it can be said at once.

use std::path::{Path, PathBuf};

use super::layers::{Layers, Value};
use super::problem::Problem;
use super::table::{self, Role, Setting};
use super::{LogFormat, LogSettings, parse};
use crate::observe;

mod master;
mod store;
mod worker;

/// Collects what is wrong. A method returns nothing only after it has said why.
#[derive(Debug)]
pub(super) struct Check<'a> {
    pub(super) layers: &'a Layers,
    pub(super) role: Role,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    pub(super) fn new(layers: &'a Layers, role: Role) -> Self {
        Self { layers, role, problems: layers.problems.clone() }
    }

    pub(super) fn log(&mut self) -> Option<LogSettings> {
        let format = self.required(&table::LOG_FORMAT, "", |text| match text.trim() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("`{}` is neither `text` nor `json`", parse::shown(other))),
        });
        let filter = self.required(&table::LOG_LEVEL, "", observe::filter);
        Some(LogSettings { format: format?, filter: filter? })
    }

    pub(super) fn path(&mut self, row: &'static Setting) -> Option<PathBuf> {
        let machine = &self.layers.machine;
        self.required(row, "there is no home directory to put it into; give --data-dir DIR", |text| {
            Ok(absolute(&machine.expand(text)))
        })
    }

    pub(super) fn required<T>(
        &mut self,
        row: &'static Setting,
        missing: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match self.layers.value(row, self.role) {
            Some(value) => self.parsed(row, &value, parse),
            None => {
                self.push(row, missing.to_owned(), None, true);
                None
            }
        }
    }

    fn optional<T>(&mut self, row: &'static Setting, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.layers.value(row, self.role)?;
        self.parsed(row, &value, parse)
    }

    fn parsed<T>(
        &mut self,
        row: &'static Setting,
        value: &Value,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&value.text) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                self.push(row, message, Some(value.origin.to_string()), false);
                None
            }
        }
    }

    fn refuse(&mut self, row: &'static Setting, message: String) {
        let origin = self.layers.value(row, self.role).map(|value| value.origin.to_string());
        self.push(row, message, origin, false);
    }

    fn push(&mut self, row: &'static Setting, message: String, origin: Option<String>, missing: bool) {
        self.problems.push(Problem { setting: row.name.to_owned(), message, origin, missing });
    }
}

/// Messages and other programs get a path that means the same in every directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
