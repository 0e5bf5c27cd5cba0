//! Submissions and inputs that are deleted, and what is counted of them all the same.

use cloudaid_core::files::Leftover;
use cloudaid_core::record::Totals;
use mongodb::bson::{Document, doc};
use shared::task::TaskState;

use super::Projection;
use crate::store::coalesce::Batch;
use crate::store::mongo::collections::{ASSIGNMENTS, CLUSTER, FILE_METADATA, INPUTS, RESULTS, TASKS, UPLOADS};
use crate::store::mongo::documents;
use crate::store::mongo::fault::Fault;
use crate::store::mongo::server::number;

impl Projection<'_> {
    /// Removes submissions and inputs with all that is known of them, and notes that their bytes still have to go.
    pub(super) async fn forget(&mut self, batch: &Batch) -> Result<(), Fault> {
        if batch.gone.is_empty() && batch.inputs_gone.is_empty() {
            return Ok(());
        }
        let here = doc! { "$exists": false };
        let tasks = doc! { "_id": documents::ids(&batch.gone), "gone": here.clone() };
        let tasks = self.server.find_fields(TASKS, tasks, doc! { "sequence": 1 }, doc! { "sequence": -1 }, 0).await?;
        let inputs = doc! { "_id": documents::ids(&batch.inputs_gone), "gone": here };
        let inputs = self.server.find_fields(INPUTS, inputs, doc! { "_id": 1 }, doc! {}, 0).await?;
        let of = doc! { "task": documents::ids(&batch.gone) };
        // First what they counted for: once, because the document remembers up to where that is done.
        self.keep_totals(&tasks, of.clone()).await?;
        let found = |found: &[Document], id: &str| {
            found.iter().any(|found| found.get_str("_id").is_ok_and(|other| other == id))
        };
        for task in batch.gone.iter().filter(|task| found(&tasks, &task.to_string())) {
            if !batch.swept.contains(&Leftover::Task(*task)) {
                self.leave(Leftover::Task(*task));
            }
        }
        for input in batch.inputs_gone.iter().filter(|input| found(&inputs, &input.to_string())) {
            if !batch.swept.contains(&Leftover::Input(*input)) {
                self.leave(Leftover::Input(*input));
            }
        }
        self.send().await?;
        for task in &batch.gone {
            let id = task.to_string();
            let filter = doc! { "_id": &id, "position": self.not_later() };
            let mut fields = self.mark();
            fields.extend(doc! { "dedup": id, "state": "gone" });
            let gone = doc! { "user": "", "spec": "", "labels": "", "array": "", "progress": "", "submitted_at": "", "key": "", "retry_of": "" };
            self.add(TASKS, doc! { "q": filter, "u": { "$set": fields, "$unset": gone } });
        }
        for input in &batch.inputs_gone {
            self.remove(INPUTS, input.to_string());
        }
        let mut files = vec![doc! { "q": of.clone(), "limit": 0 }];
        files.push(doc! { "q": { "input": documents::ids(&batch.inputs_gone) }, "limit": 0 });
        let all = vec![doc! { "q": of, "limit": 0 }];
        futures_util::try_join!(
            self.server.delete(ASSIGNMENTS, all.clone()),
            self.server.delete(RESULTS, all.clone()),
            self.server.delete(UPLOADS, all),
            self.server.delete(FILE_METADATA, files),
        )?;
        self.send().await
    }

    async fn keep_totals(&self, tasks: &[Document], results: Document) -> Result<(), Fault> {
        let Some(newest) = tasks.first() else { return Ok(()) };
        let mut gained = Document::new();
        for (state, count) in self.server.count_by(RESULTS, results, "state").await? {
            gained.insert(format!("forgotten.{state}"), count.cast_signed());
        }
        let last = newest.get("sequence").and_then(number).unwrap_or_default();
        let mut update = doc! { "$set": { "forgotten_at": self.position }, "$max": { "last_sequence": last } };
        if !gained.is_empty() {
            update.insert("$inc", gained);
        }
        let before =
            doc! { "$or": [{ "forgotten_at": { "$lt": self.position } }, { "forgotten_at": { "$exists": false } }] };
        let mut filter = doc! { "_id": "totals" };
        filter.extend(before);
        self.server.update(CLUSTER, vec![doc! { "q": filter, "u": update, "upsert": true }]).await.map(drop)
    }

    /// What is not of a submission that is here, is of one that is no more.
    pub(super) async fn take_over(&mut self, Totals { last_sequence, ended }: Totals) -> Result<(), Fault> {
        let mut forgotten = ended;
        for (state, count) in self.server.count_by(RESULTS, doc! { "task": { "$exists": true } }, "state").await? {
            if let Ok(state) = state.parse::<TaskState>() {
                let rest = forgotten.of(state);
                *rest = rest.saturating_sub(count);
            }
        }
        let fields = doc! {
            "last_sequence": last_sequence.cast_signed(),
            "forgotten": {
                "completed": forgotten.completed.cast_signed(),
                "failed": forgotten.failed.cast_signed(),
                "cancelled": forgotten.cancelled.cast_signed(),
            },
            "forgotten_at": self.position,
        };
        self.gain.recount = true;
        let statement = doc! { "q": { "_id": "totals" }, "u": { "$set": fields }, "upsert": true };
        self.server.update(CLUSTER, vec![statement]).await.map(drop)
    }
}
