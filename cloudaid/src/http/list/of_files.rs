//! The paths of files.

use axum::http::StatusCode;
use shared::error::ErrorCode;
use shared::id::{InputId, TaskRef, UserName};
use shared::view::{
    AnnounceRequest, DeletedFilesView, FilesView, InputFileView, InputListView, InputSummaryView, InputView,
    UserFilesView,
};

use super::{CREATED, OK};
use crate::http::describe::{BYTES, Doc, bytes, doc, one_of, pattern, text, whole};
use crate::http::routes::{Right, Routes};
use crate::http::{files, inputs};

pub(super) fn files_paths(routes: Routes) -> Routes {
    use ErrorCode::{Conflict, FileNotFound, RangeNotSatisfiable, TaskNotFound};
    use Right::{Change, Look};
    let part = |doc: Doc| {
        named_file(doc)
            .header("Range", text(), "`bytes=FIRST-LAST`")
            .header("If-None-Match", text(), "The tag that one has")
            .header("If-Range", text(), "The tag of what one has a part of")
            .answers_as(StatusCode::PARTIAL_CONTENT, BYTES, bytes(), "The bytes of the range")
            .done(StatusCode::NOT_MODIFIED, "One has it already")
            .refused(&[RangeNotSatisfiable, Conflict])
    };
    let routes = routes
        .get(
            "/api/files",
            Look,
            files::of_user,
            doc("List the output files of all tasks of a user")
                .query_of::<UserName>("user", "Whose; others than oneself are for admins")
                .query("limit", whole(1, Some(1000)), "The most of a page; 100 if left out")
                .query(
                    "cursor",
                    pattern(
                        "^[0-9]{1,19}\\.[0-9]{1,9}\\.([0-9]{1,9}\\.)?(([0-9a-f]{2})*|task-[0-9a-z]{26}\\.[0-9a-f]{64})$",
                    ),
                    "`next_cursor` of the last page",
                )
                .answers::<UserFilesView>(OK, "A page"),
        )
        .get(
            "/api/files/{id}",
            Look,
            files::list_or_download,
            part(files_of(doc("List the files of a task or an input")))
                .about(
                    "With `path_hex` or `path_blake3`: download that one. With `archive`: all of them in one stream.",
                )
                .query("archive", one_of(&["tar", "zip"]), "As this; those of an array in a folder for each element")
                .answers::<FilesView>(OK, "The files, or the bytes of one")
                .or_answers(BYTES, bytes())
                .or_answers("application/x-tar", bytes())
                .or_answers("application/zip", bytes()),
        )
        .get(
            "/api/files/{id}/{*path}",
            Look,
            files::download,
            part(files_of(doc("Download a file of a task or an input")))
                .about("The tag is the BLAKE3 of the content, so that a download can go on where it was cut off.")
                .path("path", text(), "Below /output or /input")
                .answers_as(OK, BYTES, bytes(), "The bytes"),
        )
        .delete(
            "/api/files/{id}",
            Change,
            files::delete,
            files_of(doc("Delete an input, or all output files of a task"))
                .about("An input that a task reads stays until that has ended.")
                .answers::<DeletedFilesView>(OK, "What is gone")
                .refused(&[TaskNotFound, FileNotFound, Conflict]),
        )
        .delete(
            "/api/files/{id}/{*path}",
            Change,
            files::delete_one,
            named_file(files_of(doc("Delete an output file")))
                .path("path", text(), "Below /output")
                .answers::<DeletedFilesView>(OK, "What is gone")
                .refused(&[Conflict]),
        );
    input_paths(routes)
}

fn input_paths(routes: Routes) -> Routes {
    use ErrorCode::{Conflict, FileNotFound, Timeout, TooLarge};
    use Right::{Change, Look};
    routes
        .get("/api/inputs", Look, inputs::list, doc("List what a user has uploaded for tasks to read")
            .query_of::<UserName>("user", "Whose; others than oneself are for admins")
            .query("limit", whole(1, Some(1000)), "The most of a page; 100 if left out")
            .query_of::<InputId>("cursor", "`next_cursor` of the last page")
            .answers::<InputListView>(OK, "A page, the newest first"))
        .post("/api/files", Change, inputs::create, doc("Upload files for tasks to read at /input")
            .about("As a form: all files at once, the path below /input as the `filename` of each. As JSON: only what is \
                    going to come, and then each file by PATCH, which may take several calls, or many small ones by POST \
                    of a form to the new input. Give the `input_id` as `input` of a task.")
            .body::<AnnounceRequest>()
            .or_body("multipart/form-data", form())
            .answers::<InputView>(CREATED, "The new input"))
        .post("/api/files/{id}", Change, inputs::add, input_id(doc("Upload many files of an input"))
            .about("Each part of the form has the number of its file in the list `files` as its name; the first is 0. \
                    Those that are there already are passed over.")
            .or_body("multipart/form-data", form())
            .answers::<InputSummaryView>(OK, "What is there now")
            .refused(&[FileNotFound, Conflict, Timeout, TooLarge]))
        .patch("/api/files/{id}/{*path}", Change, inputs::append, input_id(doc("Upload a file of an input, or go on with it"))
            .about("A part may end anywhere: `received` tells where to go on, also of one that was cut off.")
            .path("path", text(), "Below /input")
            .query("path_hex", pattern("^([0-9a-f]{2})*$"), "The path in hex, for names that are not UTF-8")
            .query("blake3", pattern("^[0-9a-fA-F]{64}$"), "Of the whole file: if it is another, nothing of it is kept")
            .header("Upload-Offset", whole(0, None), "The byte that the body begins with")
            .or_body(BYTES, bytes())
            .answers::<InputFileView>(OK, "How far it is")
            .refused(&[FileNotFound, Conflict, Timeout]))
}

fn files_of(mut doc: Doc) -> Doc {
    let one_of = utoipa::openapi::OneOfBuilder::new().item(doc.refer::<TaskRef>()).item(doc.refer::<InputId>());
    let schema: utoipa::openapi::Schema = one_of.into();
    doc.path("id", schema, "The task, the element or the input")
        .refused(&[ErrorCode::TaskNotFound, ErrorCode::FileNotFound])
}

fn input_id(doc: Doc) -> Doc {
    doc.path_of::<InputId>("id", "The input")
}

fn named_file(doc: Doc) -> Doc {
    doc.query("path_hex", pattern("^([0-9a-f]{2})*$"), "The path in hex, for names that are not UTF-8")
        .query(
            "path_blake3",
            pattern("^[0-9a-f]{64}$"),
            "The BLAKE3 of the path instead of it, where that has more than 4096 bytes; of output files only",
        )
        .query("attempt", whole(1, Some(u64::from(u32::MAX))), "Of this run")
        .query("index", whole(0, Some(u64::from(u32::MAX - 1))), "Of this element")
}

/// Parts of any names.
fn form() -> utoipa::openapi::Schema {
    utoipa::openapi::schema::ObjectBuilder::new().additional_properties(Some(bytes())).into()
}
