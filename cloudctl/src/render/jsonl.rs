//! Results as lines of JSON, one for each item.

use serde::Serialize;

use super::View;
use super::rows::RowSink;

/// Each item in a line of its own.
pub(super) fn render(view: &View) -> serde_json::Result<Vec<u8>> {
    let mut lines = Lines(Vec::new());
    view.rows(&mut lines)?;
    Ok(lines.0)
}

/// One item in a line.
pub(super) fn line<T: Serialize>(row: &T) -> serde_json::Result<Vec<u8>> {
    let mut lines = Lines(Vec::new());
    lines.row(row)?;
    Ok(lines.0)
}

struct Lines(Vec<u8>);

impl RowSink for Lines {
    type Error = serde_json::Error;

    fn row<T: Serialize>(&mut self, row: &T) -> serde_json::Result<()> {
        serde_json::to_writer(&mut self.0, row)?;
        self.0.push(b'\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::table::sample;

    #[test]
    fn each_item_is_one_line() {
        let lines = render(&View::Workers(sample::workers())).expect("json");
        let lines: Vec<_> = lines.split(|&byte| byte == b'\n').collect();
        assert_eq!(lines.len(), 3, "two, and the end");
        let first: serde_json::Value = serde_json::from_slice(lines[0]).expect("an object");
        assert_eq!(first["worker_id"], "worker-1");
        let status = render(&View::Status(sample::status())).expect("json");
        assert_eq!(status.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}
