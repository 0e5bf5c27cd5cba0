//! Answers with a page of submissions.

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};
use shared::audit::AuditEntry;
use shared::task::TaskState;
use shared::view::TaskCounts;

use super::lookup::all;
use super::row;
use super::uploads::{ENDED, LAST_RUN};
use crate::store::{
    AuditPage, AuditQuery, FileCursor, FilePlace, FileQuery, PageRoom, StoreError, StoredFile, StoredTask, TaskCursor,
    TaskQuery,
};

/// One page, and the cursor of the next.
pub(super) fn list_tasks(
    connection: &Connection,
    query: &TaskQuery,
) -> Result<(Vec<StoredTask>, Option<TaskCursor>), StoreError> {
    let (sql, values) = statement(query);
    let mut page = all(connection, &sql, params_from_iter(values), row::stored_task)?;
    let cursor = query.end_page(&mut page);
    Ok((page, cursor))
}

/// The statement and its values. The page is picked first, from indexes, and only then joined to runs and results. It
/// asks for one more than the page, to know whether there are more.
fn statement(query: &TaskQuery) -> (String, Vec<Value>) {
    let (from, sequence) = source(query, "");
    let mut filter = conditions(query, sequence);
    filter.and(&format!("{sequence} < "), query.after.map(|cursor| cursor.0.cast_signed()));
    let limit = filter.bind(i64::try_from(query.page_size() + 1).unwrap_or(i64::MAX));
    let picked = format!("{from} {} ORDER BY {sequence} DESC LIMIT {limit}", filter.to_sql());
    let (task, attempt, result, joins) = (row::TASK, row::ATTEMPT, row::RESULT, row::ONLY_ELEMENT);
    let sql = format!(
        "WITH picked AS MATERIALIZED ({picked}) SELECT {task}, {attempt}, {result}
         FROM picked JOIN tasks t ON t.sequence = picked.sequence {joins} ORDER BY t.sequence DESC"
    );
    (sql, filter.values)
}

/// How many submissions there are in each state.
pub(super) fn count_tasks(connection: &Connection, query: &TaskQuery) -> Result<TaskCounts, StoreError> {
    let (from, sequence) = source(query, ", t.state");
    let filter = conditions(query, sequence);
    let sql = format!("SELECT state, count(*) FROM ({from} {}) GROUP BY state", filter.to_sql());
    let mut counts = TaskCounts::default();
    for (state, count) in all(connection, &sql, params_from_iter(filter.values), |row| {
        Ok((row::parsed::<TaskState>(row, 0)?, row.get::<_, i64>(1)?.cast_unsigned()))
    })? {
        *counts.of(state) = count;
    }
    Ok(counts)
}

/// Where submissions come from, each once, and the column of their sequence. In the order of the join, so that the index by
/// worker gives the newest first; an array has many runs on one worker.
fn source(query: &TaskQuery, more: &str) -> (String, &'static str) {
    match query.worker {
        Some(_) => (
            format!("SELECT DISTINCT w.sequence{more} FROM assignments w CROSS JOIN tasks t USING (sequence)"),
            "w.sequence",
        ),
        None => (format!("SELECT t.sequence{more} FROM tasks t"), "t.sequence"),
    }
}

/// All but the page.
fn conditions(query: &TaskQuery, sequence: &str) -> Filter {
    let mut filter = Filter::default();
    filter.and("w.worker = ", query.worker.as_ref().map(|worker| worker.as_str().to_owned()));
    filter.and("t.state = ", query.state.map(|state| state.as_str().to_owned()));
    filter.and("t.user = ", query.user.as_ref().map(|user| user.as_str().to_owned()));
    filter.and("t.submitted_at < ", query.until.map(|until| until.0));
    if let Some(since) = query.since {
        // Sequences follow the time nearly always: with the first that is recent enough, nothing older is read.
        let since = filter.bind(since.0);
        let first = format!("SELECT min(sequence) FROM tasks INDEXED BY tasks_by_time WHERE submitted_at >= {since}");
        filter.conditions.push(format!("t.submitted_at >= {since} AND {sequence} >= ({first})"));
    }
    for (name, value) in &query.labels {
        let (name, value) = (filter.bind(name.clone()), filter.bind(value.clone()));
        let label = format!("SELECT 1 FROM json_each(t.spec, '$.labels') WHERE key = {name} AND value = {value}");
        filter.conditions.push(format!("EXISTS ({label})"));
    }
    filter
}

/// Conditions that hold together. Values are only ever bound, never part of the text.
#[derive(Default)]
struct Filter {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Filter {
    /// Binds a value; returns the name that it has in the text.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    /// Adds a condition that ends in the value, if there is one.
    fn and(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            let name = self.bind(value);
            self.conditions.push(format!("{condition}{name}"));
        }
    }

    fn to_sql(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!("WHERE {}", self.conditions.join(" AND ")) }
    }
}

/// One page of the files of a user, and the cursor of the next.
pub(super) fn list_user_files(
    connection: &Connection,
    query: &FileQuery,
) -> Result<(Vec<StoredFile>, Option<FileCursor>), StoreError> {
    // The index by user gives the submissions in their order, and the key of the files those of each.
    let sql = format!(
        "SELECT t.sequence, t.id, f.idx, f.attempt, f.path, f.size, f.blake3, f.blob, f.start
         FROM tasks t CROSS JOIN file_metadata f ON f.task = t.id
         WHERE t.user = ?1 AND t.sequence <= ?2 AND (t.sequence < ?2 OR (f.idx, f.path) > (?3, ?4))
             AND f.attempt = iif(?6 IS NOT NULL AND t.sequence = ?2 AND f.idx = ?3, ?6, {LAST_RUN}) AND {ENDED}
         ORDER BY t.sequence DESC, f.idx, f.path LIMIT ?5"
    );
    let start = FileCursor { sequence: u64::MAX >> 1, place: FilePlace::default() };
    let FileCursor { sequence, place: FilePlace { index, attempt, path } } = query.after.as_ref().unwrap_or(&start);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let values = params![query.user.as_str(), sequence.cast_signed(), index, path, limit, attempt];
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(values)?;
    let (mut page, mut room) = (Vec::new(), PageRoom::new(query.limit));
    while let Some(row) = rows.next()? {
        let file = row::file(row, 2, row::parsed(row, 1)?)?;
        let fits = room.take(&file.file.path);
        page.push((row.get::<_, i64>(0)?.cast_unsigned(), file));
        // One more than the page: there are more.
        if !fits {
            break;
        }
    }
    let next = query.end_page(&mut page);
    Ok((page.into_iter().map(|(_, file)| file).collect(), next))
}

/// One page of the audit log in the order that the query wants, and where the next one begins.
pub(super) fn list_audit(
    connection: &Connection,
    query: &AuditQuery,
) -> Result<(Vec<AuditEntry>, Option<u64>), StoreError> {
    let mut filter = Filter::default();
    let order = match query.page {
        AuditPage::Before(before) => {
            filter.and("sequence < ", before.map(|before| i64::try_from(before).unwrap_or(i64::MAX)));
            "DESC"
        }
        AuditPage::After(after) => {
            filter.and("sequence > ", Some(i64::try_from(after).unwrap_or(i64::MAX)));
            "ASC"
        }
    };
    filter.and("user = ", query.user.as_ref().map(|user| user.as_str().to_owned()));
    filter.and("at >= ", query.since.map(|since| since.0));
    let limit = filter.bind(i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1));
    let sql = format!("SELECT {} FROM audit {} ORDER BY sequence {order} LIMIT {limit}", row::AUDIT, filter.to_sql());
    let mut page = all(connection, &sql, params_from_iter(filter.values), row::audit)?;
    let next = query.end_page(&mut page);
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::fixture;
    use crate::store::sqlite::schema;

    /// How SQLite goes about picking the page.
    fn plan(query: &TaskQuery) -> String {
        let mut connection = Connection::open_in_memory().expect("a database");
        schema::migrate(&mut connection, schema::MIGRATIONS).expect("the tables");
        let (sql, values) = statement(query);
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement");
        let rows = explain.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).expect("a plan");
        rows.map(|row| row.expect("a step")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn pages_are_picked_from_indexes() {
        let after = Some(TaskCursor(7));
        let cases = [
            (TaskQuery { after, ..TaskQuery::default() }, "SEARCH t USING INTEGER PRIMARY KEY (rowid<?)"),
            (
                TaskQuery { state: Some(TaskState::Running), ..TaskQuery::default() },
                "SEARCH t USING COVERING INDEX tasks_by_state (state=?)",
            ),
            (
                TaskQuery { user: Some(fixture::user_name("ada")), after, ..TaskQuery::default() },
                "SEARCH t USING COVERING INDEX tasks_by_user (user=? AND rowid<?)",
            ),
            (
                TaskQuery { worker: Some(fixture::worker_id("w1")), after, ..TaskQuery::default() },
                "SEARCH w USING COVERING INDEX assignments_by_worker (worker=? AND sequence<?)",
            ),
            (
                TaskQuery { since: Some(fixture::time(1)), ..TaskQuery::default() },
                "SEARCH tasks USING COVERING INDEX tasks_by_time (submitted_at>?)",
            ),
            (
                TaskQuery { since: Some(fixture::time(1)), ..TaskQuery::default() },
                "SEARCH t USING INTEGER PRIMARY KEY (rowid>?)",
            ),
        ];
        for (query, step) in cases {
            let plan = plan(&query);
            assert!(plan.contains(step), "{query:?}:\n{plan}");
            let picking = plan.split("SCAN picked").next().expect("the first part");
            assert!(!picking.contains("TEMP B-TREE"), "sorts or collects all that it finds: {query:?}:\n{plan}");
            assert!(!plan.contains("SCAN a\n") && !plan.contains("SCAN r\n"), "{plan}");
        }
    }
}
