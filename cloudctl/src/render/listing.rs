//! A list that comes page by page: each page is written as soon as it is there, so that memory does not grow with the
//! list.

use std::io::Write;

use serde::Serialize;

use super::rows::RowSink;
use super::table::Pages;
use super::{Format, Terminal, View, jsonl, quiet, yaml};
use crate::clock;
use crate::exit::CtlError;

/// Writes a list to stdout.
pub(crate) struct Listing<'a> {
    terminal: &'a Terminal,
    /// For tables.
    pages: Pages,
    /// Rows so far.
    rows: u64,
}

impl<'a> Listing<'a> {
    /// A list with no rows yet.
    pub(super) fn new(terminal: &'a Terminal) -> Self {
        Self { terminal, pages: Pages::default(), rows: 0 }
    }

    /// Writes one more page. `rest` is the same view without its rows: what stands around them.
    pub(crate) fn page(&mut self, page: &View, rest: &View) -> Result<(), CtlError> {
        let bytes = match &self.terminal.format {
            Format::Table => self.pages.page(page, &self.terminal.style, clock::wall()).into_bytes(),
            Format::Quiet => quiet::render(page, &self.terminal.style),
            Format::Jsonl => jsonl::render(page).map_err(super::unwritable)?,
            Format::Template(template) => template.render(page)?,
            Format::Json => {
                let mut rows = JsonRows { out: Vec::new(), rows: self.rows };
                page.rows(&mut rows).map_err(super::unwritable)?;
                let head = if self.rows == 0 && rows.rows > 0 { json_around(rest)?.0 } else { Vec::new() };
                self.rows = rows.rows;
                [head, rows.out].concat()
            }
            Format::Yaml => {
                let mut rows = YamlRows { out: Vec::new(), rows: self.rows };
                page.rows(&mut rows)?;
                let head = if self.rows == 0 && rows.rows > 0 { yaml_around(rest)?.0 } else { Vec::new() };
                self.rows = rows.rows;
                [head, rows.out].concat()
            }
        };
        self.terminal.write(&bytes)
    }

    /// Writes what stands behind the rows.
    pub(crate) fn finish(self, rest: &View) -> Result<(), CtlError> {
        let bytes = match &self.terminal.format {
            Format::Table => self.pages.finish(rest).into_bytes(),
            Format::Quiet | Format::Jsonl | Format::Template(_) => return Ok(()),
            Format::Json if self.rows == 0 => super::json::render(rest).map_err(super::unwritable)?,
            Format::Json => json_around(rest)?.1,
            Format::Yaml if self.rows == 0 => yaml::document(rest).map_err(super::unwritable)?,
            Format::Yaml => yaml_around(rest)?.1,
        };
        self.terminal.write(&bytes)
    }
}

/// What stands before and behind the rows of an indented object with one empty list.
fn json_around(rest: &View) -> Result<(Vec<u8>, Vec<u8>), CtlError> {
    let text = super::json::render(rest).map_err(super::unwritable)?;
    let text = String::from_utf8_lossy(&text);
    let (head, tail) = text.split_once("[]").unwrap_or((&text, ""));
    Ok((format!("{head}[").into_bytes(), format!("\n  ]{tail}").into_bytes()))
}

struct JsonRows {
    out: Vec<u8>,
    rows: u64,
}

impl RowSink for JsonRows {
    type Error = serde_json::Error;

    fn row<T: Serialize>(&mut self, row: &T) -> serde_json::Result<()> {
        let text = serde_json::to_string_pretty(row)?;
        self.out.extend_from_slice(if self.rows == 0 { b"\n" } else { b",\n" });
        // No text in JSON has a line end of its own.
        let indented: Vec<_> = text.lines().map(|line| format!("    {line}")).collect();
        self.out.extend_from_slice(indented.join("\n").as_bytes());
        self.rows += 1;
        Ok(())
    }
}

fn yaml_around(rest: &View) -> Result<(Vec<u8>, Vec<u8>), CtlError> {
    let text = yaml::document(rest).map_err(super::unwritable)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, tail) = text.split_once(" []\n").unwrap_or((&text, ""));
    Ok((format!("{head}\n").into_bytes(), tail.as_bytes().to_vec()))
}

struct YamlRows {
    out: Vec<u8>,
    rows: u64,
}

impl RowSink for YamlRows {
    type Error = CtlError;

    fn row<T: Serialize>(&mut self, row: &T) -> Result<(), CtlError> {
        let text = yaml::document(row).map_err(super::unwritable)?;
        for (number, line) in String::from_utf8_lossy(&text).lines().enumerate() {
            let mark = if number == 0 { "- " } else { "  " };
            writeln!(self.out, "  {mark}{line}").map_err(CtlError::output)?;
        }
        self.rows += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use shared::view::TaskListView;

    use super::*;
    use crate::render::table::sample;

    fn rest() -> View {
        View::Tasks(TaskListView { tasks: vec![], next_cursor: None })
    }

    fn tasks(count: usize) -> View {
        View::Tasks(TaskListView { tasks: vec![sample::task(); count], next_cursor: None })
    }

    #[test]
    fn in_pages_json_is_the_same_as_in_one() {
        let (head, tail) = json_around(&rest()).expect("json");
        let mut rows = JsonRows { out: Vec::new(), rows: 0 };
        for _ in 0..3 {
            tasks(1).rows(&mut rows).expect("rows");
        }
        let whole = [head, rows.out, tail].concat();
        let expected = crate::render::json::render(&tasks(3)).expect("json");
        assert_eq!(String::from_utf8_lossy(&whole), String::from_utf8_lossy(&expected));
    }

    #[test]
    fn in_pages_yaml_says_the_same_as_in_one() {
        let (head, tail) = yaml_around(&rest()).expect("yaml");
        let mut rows = YamlRows { out: Vec::new(), rows: 0 };
        for _ in 0..3 {
            tasks(1).rows(&mut rows).expect("rows");
        }
        let whole = [head, rows.out, tail].concat();
        let read = |bytes: &[u8]| -> serde_json::Value {
            serde_saphyr::from_str(&String::from_utf8_lossy(bytes))
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
        };
        assert_eq!(read(&whole), read(&yaml::render(&tasks(3)).expect("yaml")));
    }
}
