//! Output files.

use comfy_table::Cell;
use shared::view::{FileListView, FileView, UserFileView, UserFilesView};

use super::grid::{Grid, Widths, text};
use crate::render::{DeletedFiles, DeletedFilesListView, DownloadedView, Style};

/// Enough to compare by eye; JSON and raw tables have all of it.
pub(super) const DIGEST_SHOWN: usize = 12;

/// `task-files`
pub(super) fn list(view: &FileListView, style: &Style) -> String {
    if view.files.is_empty() {
        return none_of_task(&view.task_id, style);
    }
    let mut grid = Grid::new(style, ["ELEMENT", "ATTEMPT", "SIZE", "BLAKE3", "PATH"], &[4]).align_right(&[2]);
    for file in &view.files {
        grid.row(row(file, style));
    }
    grid.finish()
}

/// A page of `files`.
pub(super) fn of_user(files: &[UserFileView], style: &Style, widths: &mut Widths) -> String {
    let headings = ["TASK", "ELEMENT", "ATTEMPT", "SIZE", "BLAKE3", "PATH"];
    let mut grid = Grid::new(style, headings, &[5]).align_right(&[3]).hide_if_narrow(&[2, 4]);
    for UserFileView { task_id, file } in files {
        let row: Vec<Cell> = std::iter::once(text(task_id, style)).chain(row(file, style)).collect();
        grid.row(row);
    }
    grid.finish_page(widths)
}

/// `files`, where there are none.
pub(super) fn none_of_user(view: &UserFilesView, _: &Style) -> String {
    format!("{} has no output files.\n", view.user)
}

fn none_of_task(task: &str, style: &Style) -> String {
    format!("{} has no output files.\n", style.text(task))
}

fn row(file: &FileView, style: &Style) -> [Cell; 5] {
    let shown = if style.raw { file.blake3.len() } else { DIGEST_SHOWN };
    [
        Cell::new(file.index),
        Cell::new(file.attempt),
        Cell::new(style.size(file.size)),
        text(&file.blake3.chars().take(shown).collect::<String>(), style),
        text(&file.path, style),
    ]
}

/// `download`
pub(super) fn downloaded(view: &DownloadedView, style: &Style) -> String {
    if view.files.is_empty() && view.failed.is_empty() {
        let id = view.task_id.clone().or_else(|| view.input_id.map(|id| id.to_string())).unwrap_or_default();
        return none_of_task(&id, style);
    }
    let mut out = String::new();
    for file in &view.files {
        let unchanged = if file.unchanged { ", was there" } else { "" };
        out.push_str(&format!("{} ({}{unchanged})\n", style.text(&file.written_to), style.size(file.file.size)));
    }
    if !view.failed.is_empty() {
        let all = view.failed.len() + view.files.len();
        out.push_str(&format!("✗ {} of {all} were not downloaded\n", view.failed.len()));
    }
    if view.failed.is_empty() && view.files.iter().all(|file| file.unchanged) {
        out.push_str(&format!("✓ Everything was in {} already\n", style.text(&view.directory)));
        return out;
    }
    let bytes = view.files.iter().map(|file| file.file.size).sum();
    let count = match view.files.len() {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    out.push_str(&format!("✓ Downloaded {count} ({}) to {}\n", style.size(bytes), style.text(&view.directory)));
    out
}

/// `files delete`
pub(super) fn deleted(view: &DeletedFilesListView, style: &Style) -> String {
    let line = |files: &DeletedFiles| {
        let what = match (&files.path, files.size.files) {
            (Some(path), _) => style.text(path).into_owned(),
            (None, 1) => "1 file".to_owned(),
            (None, count) => format!("{count} files"),
        };
        format!("✓ Deleted {what} of {} ({})\n", style.text(&files.id), style.size(files.size.bytes))
    };
    view.deleted.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::DownloadedFile;
    use crate::render::table::sample;

    #[test]
    fn files_in_rows() {
        let expected = "\
ELEMENT  ATTEMPT     SIZE  BLAKE3        PATH
0        1        1.5 KiB  abababababab  a\\nb
";
        assert_eq!(list(&sample::files("a\nb"), &Style::default()), expected);
    }

    #[test]
    fn no_files_are_said_to_be_none() {
        let none = FileListView { task_id: "task-x".into(), files: vec![] };
        assert_eq!(list(&none, &Style::default()), "task-x has no output files.\n");
        let none = DownloadedView {
            task_id: Some("task-x".into()),
            input_id: None,
            directory: "d".into(),
            files: vec![],
            failed: vec![],
        };
        assert_eq!(downloaded(&none, &Style::default()), "task-x has no output files.\n");
    }

    #[test]
    fn what_was_written_is_named() {
        let file = sample::files("r.txt").files.remove(0);
        let files = vec![DownloadedFile { file, written_to: "d/r.txt".into(), unchanged: false }];
        let view = DownloadedView {
            task_id: Some("task-x".into()),
            input_id: None,
            directory: "d".into(),
            files,
            failed: vec![],
        };
        assert_eq!(downloaded(&view, &Style::default()), "d/r.txt (1.5 KiB)\n✓ Downloaded 1 file (1.5 KiB) to d\n");
    }
}
