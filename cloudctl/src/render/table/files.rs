//! Output files.

use comfy_table::Cell;
use shared::resources::Bytes;
use shared::view::FileListView;

use super::grid::{Grid, text};
use crate::render::{Downloaded, Style};
use shared::text::printable;

/// `task-files`
pub(super) fn list(view: &FileListView, style: &Style) -> String {
    if view.files.is_empty() {
        return format!("{} has no output files.\n", printable(&view.task_id));
    }
    let mut grid = Grid::new(style, ["ELEMENT", "ATTEMPT", "SIZE", "BLAKE3", "PATH"], &[4]);
    for file in &view.files {
        grid.row([
            Cell::new(file.index),
            Cell::new(file.attempt),
            Cell::new(Bytes(file.size)),
            // Enough to compare by eye; JSON has all of it.
            text(&file.blake3.chars().take(12).collect::<String>()),
            text(&file.path),
        ]);
    }
    grid.finish()
}

/// `download`
pub(super) fn downloaded(view: &Downloaded) -> String {
    if view.files.is_empty() && view.failed.is_empty() {
        return format!("{} has no output files.\n", printable(&view.task_id));
    }
    let mut out: String = view
        .files
        .iter()
        .map(|file| format!("{} ({})\n", printable(&file.written_to), Bytes(file.file.size)))
        .collect();
    let bytes = view.files.iter().map(|file| file.file.size).sum();
    let count = match view.files.len() {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    if !view.failed.is_empty() {
        out.push_str(&format!(
            "✗ {} of {} were not downloaded\n",
            view.failed.len(),
            view.failed.len() + view.files.len()
        ));
    }
    out.push_str(&format!("✓ Downloaded {count} ({}) to {}\n", Bytes(bytes), printable(&view.directory)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::DownloadedFile;
    use crate::render::table::sample;

    #[test]
    fn files_in_rows() {
        let expected = "\
ELEMENT  ATTEMPT  SIZE     BLAKE3        PATH
0        1        1.5 KiB  abababababab  a\\nb
";
        assert_eq!(list(&sample::files("a\nb"), &Style::default()), expected);
    }

    #[test]
    fn no_files_are_said_to_be_none() {
        let none = FileListView { task_id: "task-x".into(), files: vec![] };
        assert_eq!(list(&none, &Style::default()), "task-x has no output files.\n");
        let none = Downloaded { task_id: "task-x".into(), directory: "d".into(), files: vec![], failed: vec![] };
        assert_eq!(downloaded(&none), "task-x has no output files.\n");
    }

    #[test]
    fn what_was_written_is_named() {
        let file = sample::files("r.txt").files.remove(0);
        let files = vec![DownloadedFile { file, written_to: "d/r.txt".into() }];
        let view = Downloaded { task_id: "task-x".into(), directory: "d".into(), files, failed: vec![] };
        assert_eq!(downloaded(&view), "d/r.txt (1.5 KiB)\n✓ Downloaded 1 file (1.5 KiB) to d\n");
    }
}
