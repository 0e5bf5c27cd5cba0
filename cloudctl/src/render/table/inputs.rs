//! What users have uploaded.

use comfy_table::Cell;
use shared::time::WallTime;
use shared::view::{InputListView, InputSummaryView, InputView};

use super::grid::{Grid, Widths, text};
use crate::render::Style;

/// `files upload`, `files list ID`
pub(super) fn show(view: &InputView, style: &Style, now: WallTime) -> String {
    let InputSummaryView { input_id, missing, .. } = &view.input;
    let mut grid = Grid::new(style, ["SIZE", "BLAKE3", "PATH"], &[2]).align_right(&[0]);
    for file in &view.files {
        let digest = match &file.blake3 {
            Some(digest) if style.raw => digest.clone(),
            Some(digest) => digest.chars().take(super::files::DIGEST_SHOWN).collect(),
            None => "-".to_owned(),
        };
        grid.row([Cell::new(style.size(file.size)), text(&digest, style), text(&file.path, style)]);
    }
    let count = match view.input.file_count {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    let state = match missing {
        0 => String::new(),
        missing => format!(", {missing} have not arrived"),
    };
    let used = style.ago(now, view.input.used_at);
    let size = style.size(view.input.bytes);
    format!("{}\nInput {input_id}: {count} ({size}){state}, last used {used}\n", grid.finish().trim_end())
}

/// A page of `files list --inputs`.
pub(super) fn list(inputs: &[InputSummaryView], style: &Style, now: WallTime, widths: &mut Widths) -> String {
    let headings = ["INPUT", "FILES", "MISSING", "SIZE", "READERS", "USED"];
    let mut grid = Grid::new(style, headings, &[]).align_right(&[1, 2, 3, 4]);
    for input in inputs {
        grid.row([
            text(&input.input_id.to_string(), style),
            Cell::new(input.file_count),
            Cell::new(input.missing),
            Cell::new(style.size(input.bytes)),
            Cell::new(input.readers),
            Cell::new(style.ago(now, input.used_at)),
        ]);
    }
    grid.finish_page(widths)
}

/// `files list --inputs`, where there are none.
pub(super) fn none(view: &InputListView, _: &Style) -> String {
    format!("{} has uploaded nothing.\n", view.user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::table::sample;

    #[test]
    fn what_has_not_arrived_is_said() {
        let expected = [
            "   SIZE  BLAKE3        PATH",
            "1.5 KiB  abababababab  a\\nb",
            "1.5 KiB  -             c",
            "Input input-01arz3ndektsv4rrffq69g5fav: 2 files (3 KiB), 1 have not arrived, last used 2h ago",
            "",
        ];
        assert_eq!(show(&sample::input(), &Style::default(), sample::NOW), expected.join("\n"));
    }
}
