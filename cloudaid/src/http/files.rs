//! `/api/files`: what tasks left in /output, and what they read at /input.

use std::fmt::Write as _;
use std::io;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cloudaid_core::files::{FileUsage, InputFile};
use cloudaid_core::reject::Reject;
use futures_util::{StreamExt, TryStreamExt, stream};
use shared::error::{ApiError, ErrorCode};
use shared::files_of::FilesOf;
use shared::id::{Elements, TaskRef};
use shared::view::{DeletedFilesView, FileView, UserFileView, UserFilesView};

use super::archive::{Entries, Entry};
use super::error::{Failure, internal, invalid};
use super::extract::{Caller, FilePath, FilesPath, Params, TaskPath};
use super::range::{self, Part};
use super::visible::{check_files_of, find_input, find_visible, open_input, open_visible};
use super::{Shared, archive, inputs};
use crate::master::auth::Principal;
use crate::master::files::{self, Content};
use crate::master::handle::file_mark::FileMark;
use crate::master::handle::files::FileStream;
use crate::master::inputs::content as content_of_input;
use crate::store::{FileName, StoredFile};

/// The most files or inputs of a page, and how many if the client does not say.
pub(super) const PAGE_LIMIT: usize = 1000;
pub(super) const PAGE_DEFAULT: usize = 100;
/// Bytes of a list that are sent together, about.
const PART_BYTES: usize = 256 * 1024;

/// `GET /api/tasks/{id}/files`
pub(super) async fn list(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TaskPath(task): TaskPath,
    params: Params,
) -> Result<Response, Failure> {
    params.finish()?;
    Ok(list_of_task(&state, &principal, task).await?)
}

/// A [`FileListView`](shared::view::FileListView), written as it is read: there may be a million of files. What cannot be
/// read breaks it off, so that nobody takes a part for the whole.
async fn list_of_task(state: &Shared, principal: &Principal, task: TaskRef) -> Result<Response, ApiError> {
    let files = files_of(state, principal, task).await?;
    let parts = stream::try_unfold((files, true), |(mut files, mut is_first)| async move {
        let mut part = Vec::new();
        while part.len() < PART_BYTES
            && let Some(file) = files.try_next().await.map_err(|error| io::Error::other(error.message))?
        {
            if !std::mem::take(&mut is_first) {
                part.push(b',');
            }
            serde_json::to_writer(&mut part, &file_view(&file))?;
        }
        Ok::<_, io::Error>((!part.is_empty()).then(|| (Bytes::from(part), (files, is_first))))
    });
    let head = Bytes::from(format!("{{\"task_id\":\"{task}\",\"files\":["));
    let whole = stream::iter([Ok(head)]).chain(parts).chain(stream::iter([Ok(Bytes::from_static(b"]}"))]));
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(whole)).into_response())
}

/// `GET /api/files`: those of all tasks of a user, by default the caller.
pub(super) async fn of_user(
    State(state): State<Shared>,
    Caller(principal): Caller,
    mut params: Params,
) -> Result<Json<UserFilesView>, Failure> {
    let user = params.one("user")?.unwrap_or_else(|| principal.user.clone());
    let after = params.one::<FileMark>("cursor")?;
    let limit = params.number("limit", 1, PAGE_LIMIT)?.unwrap_or(PAGE_DEFAULT);
    params.finish()?;
    check_files_of(&state, &principal, &user).await?;
    let (files, next) = state.cluster.user_files(user.clone(), after, limit).await?;
    let view = |file: &StoredFile| UserFileView { task_id: file.element.task.to_string(), file: file_view(file) };
    let next_cursor = next.map(|mark| mark.to_string());
    Ok(Json(UserFilesView { user, files: files.iter().map(view).collect(), next_cursor }))
}

/// `GET /api/files/{id}`: the list; with `path_hex` or `path_blake3` a download, for names that cannot stand in a path; with
/// `archive` all of them in one.
pub(super) async fn list_or_download(
    State(state): State<Shared>,
    Caller(principal): Caller,
    FilesPath(of): FilesPath,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Failure> {
    if let Some(form) = params.one("archive")? {
        params.finish()?;
        let entries = entries(&state, &principal, of).await?;
        let seat = state.load.admit_archive(&principal)?;
        return Ok(archive::answer(state.files.clone(), &of.to_string(), entries, form, seat));
    }
    if let Some(name) = name(&mut params)? {
        let (path, content) = find(&state, &principal, of, name, params).await?;
        return send(&state, &principal, &path, content, &headers).await;
    }
    params.finish()?;
    match of {
        FilesOf::Task(task) => Ok(list_of_task(&state, &principal, task).await?),
        FilesOf::Input(id) => {
            let found = open_input(&state, &principal, id).await?;
            Ok(Json(inputs::view(&state, found).await?).into_response())
        }
    }
}

/// `GET /api/files/{id}/{*path}`
pub(super) async fn download(
    State(state): State<Shared>,
    Caller(principal): Caller,
    FilePath { of, path }: FilePath,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Failure> {
    let name = name(&mut params)?.unwrap_or(FileName::Path(path));
    let (path, content) = find(&state, &principal, of, name, params).await?;
    send(&state, &principal, &path, content, &headers).await
}

/// `DELETE /api/files/{id}`: an input, or all output files of a task or element.
pub(super) async fn delete(
    State(state): State<Shared>,
    Caller(principal): Caller,
    FilesPath(of): FilesPath,
    params: Params,
) -> Result<Json<DeletedFilesView>, Failure> {
    params.finish()?;
    let deleted = match of {
        FilesOf::Input(id) => {
            let (input, _) = find_input(&state, &principal, id).await?;
            state.cluster.delete_input(id).await?;
            input.size
        }
        FilesOf::Task(task) => {
            find_visible(&state, &principal, task).await?;
            state.cluster.delete_files(task, None).await?
        }
    };
    Ok(Json(deleted_view(deleted)))
}

/// `DELETE /api/files/{id}/{*path}`: one output file.
pub(super) async fn delete_one(
    State(state): State<Shared>,
    Caller(principal): Caller,
    FilePath { of, path }: FilePath,
    mut params: Params,
) -> Result<Json<DeletedFilesView>, Failure> {
    let name = name(&mut params)?.unwrap_or(FileName::Path(path));
    match of {
        FilesOf::Input(id) => {
            params.finish()?;
            find_input(&state, &principal, id).await?;
            let message = format!("{id} never changes: it goes as a whole");
            Err(ApiError::new(ErrorCode::Conflict, message, format!("DELETE /api/files/{id}")).into())
        }
        FilesOf::Task(task) => {
            let wanted = Wanted::parse(task, name, params)?;
            find_visible(&state, &principal, wanted.task).await?;
            let stored = wanted.find(state.cluster.files_at(wanted.task, wanted.name.clone()).await?)?;
            Ok(Json(deleted_view(state.cluster.delete_files(wanted.task, Some(stored)).await?)))
        }
    }
}

fn deleted_view(FileUsage { files, bytes }: FileUsage) -> DeletedFilesView {
    DeletedFilesView { files, bytes }
}

/// All files, as they stand in an archive: those of an array in a folder for each element.
async fn entries(state: &Shared, principal: &Principal, of: FilesOf) -> Result<Entries, ApiError> {
    match of {
        FilesOf::Task(task) => {
            let is_array = open_visible(state, principal, task).await?.array.is_some();
            let entry = move |stored: StoredFile| {
                let mut name = if is_array { format!("{}/", stored.element.index).into_bytes() } else { Vec::new() };
                name.extend(&stored.file.path);
                let content = files::output(stored.element, stored.attempt, &stored.file);
                Entry { name, executable: false, content }
            };
            let files = files_of(state, principal, task).await?;
            Ok(files.map_ok(entry).map_err(|error| io::Error::other(error.message)).boxed())
        }
        FilesOf::Input(id) => {
            let (input, _) = open_input(state, principal, id).await?;
            if input.missing > 0 {
                return Err(Reject::InputIncomplete(id, input.missing).into());
            }
            let entry = move |file: InputFile| Entry {
                content: content_of_input(id, &file),
                name: file.path,
                executable: file.executable,
            };
            let files = state.cluster.input_files(id).await?;
            Ok(stream::iter(files.into_iter().map(move |file| Ok(entry(file)))).boxed())
        }
    }
}

/// The path and the content of the file that is meant.
async fn find(
    state: &Shared,
    principal: &Principal,
    of: FilesOf,
    name: FileName,
    params: Params,
) -> Result<(Vec<u8>, Content), ApiError> {
    match of {
        FilesOf::Task(task) => {
            let wanted = Wanted::parse(task, name, params)?;
            open_visible(state, principal, wanted.task).await?;
            let stored = wanted.find(state.cluster.files_at(wanted.task, wanted.name.clone()).await?)?;
            let content = files::output(stored.element, stored.attempt, &stored.file);
            Ok((stored.file.path, content))
        }
        FilesOf::Input(id) => {
            params.finish()?;
            let FileName::Path(path) = name else {
                return Err(invalid("path_blake3: no file of an input has so long a path", "give its path"));
            };
            let (input, _) = open_input(state, principal, id).await?;
            let file = inputs::find_file(state, id, &path).await?;
            if file.blake3.is_none() {
                return Err(Reject::InputIncomplete(id, input.missing).into());
            }
            Ok((path, content_of_input(id, &file)))
        }
    }
}

/// A file as the client names it.
struct Wanted {
    task: TaskRef,
    name: FileName,
    attempt: Option<u32>,
}

impl Wanted {
    fn parse(mut task: TaskRef, name: FileName, mut params: Params) -> Result<Self, ApiError> {
        let attempt = params.one("attempt")?;
        if let Some(index) = params.one("index")? {
            if !task.elements.include(index) {
                return Err(invalid("index: is not the element of the path", "give one of the two"));
            }
            task.elements = Elements::One(index);
        }
        params.finish()?;
        Ok(Self { task, name, attempt })
    }

    /// The file among those of the task.
    fn find(&self, files: Vec<StoredFile>) -> Result<StoredFile, ApiError> {
        let is_wanted = |file: &StoredFile| {
            self.name.is(&file.file.path) && self.attempt.is_none_or(|attempt| attempt == file.attempt)
        };
        let mut found = files.into_iter().filter(is_wanted);
        let shown = match &self.name {
            FileName::Path(path) => files::show_path(path),
            FileName::Digest(digest) => hex::encode(digest),
        };
        let Some(file) = found.next() else {
            let hint = format!("`cloudctl task-files {}` lists its files", self.task);
            let message = format!("{} has no output file `{shown}`", self.task);
            return Err(ApiError::new(ErrorCode::FileNotFound, message, hint));
        };
        match found.next() {
            None => Ok(file),
            Some(_) => {
                let hint = format!("name the element: {}, or index={}", file.element, file.element.index);
                Err(invalid(format!("several elements of {} have a file `{shown}`", self.task), hint))
            }
        }
    }
}

/// A name that stands in the query.
fn name(params: &mut Params) -> Result<Option<FileName>, ApiError> {
    let digest = params.one::<String>("path_blake3")?;
    let path = path_hex(params)?;
    let Some(text) = digest else { return Ok(path.map(FileName::Path)) };
    if path.is_some() {
        return Err(invalid("path_blake3: path_hex is there too", "give one of the two"));
    }
    let mut digest = [0; 32];
    match hex::decode_to_slice(text, &mut digest) {
        Ok(()) => Ok(Some(FileName::Digest(digest))),
        Err(_) => Err(invalid("path_blake3: is no BLAKE3 in hex", "`b3sum` of the path makes it")),
    }
}

pub(super) fn path_hex(params: &mut Params) -> Result<Option<Vec<u8>>, ApiError> {
    let text = params.one::<String>("path_hex")?;
    let bad = |_| invalid("path_hex: is not hex", "take it from the list of files");
    text.map(|text| hex::decode(text).map_err(bad)).transpose()
}

/// Those of a task. If not even the first can be read, there is no stream.
async fn files_of(state: &Shared, principal: &Principal, task: TaskRef) -> Result<FileStream, ApiError> {
    open_visible(state, principal, task).await?;
    let mut files = state.cluster.files(task);
    let first = files.try_next().await?;
    Ok(stream::iter(first.map(Ok)).chain(files).boxed())
}

fn file_view(stored: &StoredFile) -> FileView {
    let path = String::from_utf8_lossy(&stored.file.path);
    let path_hex = std::str::from_utf8(&stored.file.path).is_err().then(|| hex::encode(&stored.file.path));
    FileView {
        path: path.into_owned(),
        path_hex,
        size: stored.file.size,
        blake3: hex::encode(stored.file.blake3),
        index: stored.element.index,
        attempt: stored.attempt,
    }
}

async fn send(
    state: &Shared,
    principal: &Principal,
    path: &[u8],
    content: Content,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let size = content.size;
    let etag = format!("\"{}\"", hex::encode(content.blake3));
    let says = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let knows =
        |tags: &str| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag || tag.trim() == "*");
    if says(IF_NONE_MATCH).is_some_and(knows) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    let is_same = says(IF_RANGE).is_none_or(|tag| tag == etag);
    let (first, length, status) = match range::parse(headers.get(RANGE).filter(|_| is_same), size) {
        Part::Whole => (0, size, StatusCode::OK),
        Part::Range { first, last } => (first, last - first + 1, StatusCode::PARTIAL_CONTENT),
        Part::Unsatisfiable => return Ok(unsatisfiable(size)),
    };
    let seat = state.load.admit_download(principal)?;
    // Read as they are sent.
    let bytes = state.files.read(content, first..first + length).await;
    let bytes = bytes.map_err(|error| internal("the file cannot be read", &error))?;
    let bytes = bytes.inspect(move |_| {
        let _until_the_end = &seat;
    });
    let mut response = (status, common_headers(path, etag, length), Body::from_stream(bytes)).into_response();
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(range) = format!("bytes {first}-{}/{size}", first + length - 1).parse()
    {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    Ok(response)
}

/// A file is bytes to keep and never a page to show, whatever it claims to be.
fn common_headers(path: &[u8], etag: String, length: u64) -> [(HeaderName, String); 6] {
    [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, length.to_string()),
        (CONTENT_DISPOSITION, disposition(path)),
        (CONTENT_SECURITY_POLICY, "sandbox".to_owned()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (ETAG, etag),
    ]
}

fn unsatisfiable(size: u64) -> Response {
    let error = ApiError::new(
        ErrorCode::RangeNotSatisfiable,
        "the range is outside of the file",
        format!("it has {size} bytes"),
    );
    ([(CONTENT_RANGE, format!("bytes */{size}"))], Failure::from(error)).into_response()
}

/// The last part of the path, in ASCII for old clients and exactly (RFC 8187) for the others.
fn disposition(path: &[u8]) -> String {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._- ".contains(c);
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut exact = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            exact.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(exact, "%{byte:02X}");
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}")
}

#[cfg(test)]
mod tests {
    use cloudaid_core::record::FileRecord;
    use shared::id::{ElementId, TaskId};
    use ulid::Ulid;

    use super::*;

    fn stored(index: u32, attempt: u32, path: &[u8]) -> StoredFile {
        let element = ElementId { task: TaskId(Ulid::nil()), index };
        StoredFile {
            element,
            attempt,
            file: FileRecord { path: path.to_vec(), size: 1, blake3: [0; 32], blob: None, start: None },
        }
    }

    fn wanted(path: &[u8], attempt: Option<u32>) -> Wanted {
        Wanted { task: TaskId(Ulid::nil()).into(), name: FileName::Path(path.to_vec()), attempt }
    }

    #[test]
    fn a_file_is_found_by_its_exact_bytes() {
        let files = || vec![stored(0, 2, b"a"), stored(0, 2, b"b\xff"), stored(1, 1, b"a")];
        assert_eq!(wanted(b"b\xff", None).find(files()).expect("there").file.path, b"b\xff");
        assert_eq!(wanted(b"a", Some(1)).find(files()).expect("there").element.index, 1);
        assert_eq!(wanted(b"a", None).find(files()).expect_err("twice").code, ErrorCode::InvalidArgument);
        for absent in [wanted(b"A", None), wanted(b"b", None), wanted(b"b\xff", Some(1))] {
            assert_eq!(absent.find(files()).expect_err("absent").code, ErrorCode::FileNotFound);
        }
    }

    #[test]
    fn a_long_path_is_found_by_its_digest() {
        let path = [&[b'd'; 250][..]; 20].join(&b'/');
        let files = || vec![stored(0, 1, b"a"), stored(0, 1, &path[..5000]), stored(0, 1, &path)];
        let by = |path: &[u8]| Wanted { name: FileName::Digest(*blake3::hash(path).as_bytes()), ..wanted(b"", None) };
        assert_eq!(by(&path).find(files()).expect("there").file.path, path);
        assert_eq!(by(b"a").find(files()).expect_err("it has a short one").code, ErrorCode::FileNotFound);
        assert_eq!(by(b"b").find(files()).expect_err("absent").code, ErrorCode::FileNotFound);
    }

    #[test]
    fn names_that_are_not_utf_8_are_listed_in_hex_too() {
        assert_eq!(file_view(&stored(0, 1, b"a\xff")).path_hex.as_deref(), Some("61ff"));
        assert_eq!(file_view(&stored(0, 1, "ä".as_bytes())).path_hex, None);
    }

    #[test]
    fn no_name_breaks_out_of_the_header() {
        assert_eq!(disposition(b"d/r.txt"), "attachment; filename=\"r.txt\"; filename*=UTF-8''r.txt");
        assert_eq!(
            disposition("a\"; x=\"\r\nB: ä".as_bytes()),
            "attachment; filename=\"a__ x____B_ _\"; filename*=UTF-8''a%22%3B%20x%3D%22%0D%0AB%3A%20%C3%A4"
        );
        assert!(disposition(b"\xff\xfe").parse::<axum::http::HeaderValue>().is_ok());
    }
}
