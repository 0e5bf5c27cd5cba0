//! `/api/files/{input}` and `/api/inputs`: what users upload for tasks to read at /input.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use cloudaid_core::files::{FileUsage, InputFile, InputRecord};
use shared::error::{ApiError, ErrorCode};
use shared::files_of::FilesOf;
use shared::id::{InputId, UserName};
use shared::view::{AnnounceRequest, FileUsageView, InputFileView, InputListView, InputSummaryView, InputView};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::error::{Failure, internal, invalid};
use super::extract::{Caller, FilePath, FilesPath, Params, media_type, read_body};
use super::files::{PAGE_DEFAULT, PAGE_LIMIT};
use super::multipart::Form;
use super::steady::Steady;
use super::visible::{check_files_of, find_input};
use super::{Shared, json};
use crate::master::auth::Principal;
use crate::master::files::show_path;
use crate::master::handle::files::detached;
use crate::master::inputs::{Announced, Upload};

/// The largest announcement, in bytes: some 100,000 files.
const ANNOUNCEMENT_LIMIT: usize = 16 << 20;
/// How long files of a form may have come and not be known: meanwhile nobody else can bring them.
const SOON: Duration = Duration::from_secs(2);
/// The largest file that can be announced, in bytes.
const FILE_LIMIT: u64 = 1 << 50;
/// How many files of a form are made durable together.
const TOGETHER: usize = 256;
/// Where in a file the body goes, or may go on.
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// `GET /api/inputs`: those of a user, by default the caller.
pub(super) async fn list(
    State(state): State<Shared>,
    Caller(principal): Caller,
    mut params: Params,
) -> Result<Json<InputListView>, Failure> {
    let user: UserName = params.one("user")?.unwrap_or_else(|| principal.user.clone());
    let before: Option<InputId> = params.one("cursor")?;
    let limit = params.number("limit", 1, PAGE_LIMIT)?.unwrap_or(PAGE_DEFAULT);
    params.finish()?;
    check_files_of(&state, &principal, &user).await?;
    let mut found = state.cluster.inputs(user.clone(), before, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|(input, _)| input.id);
    let kept = state.cluster.kept(user.clone()).await?;
    let usage = FileUsageView {
        bytes: kept.usage.bytes,
        files: kept.usage.files,
        bytes_limit: kept.quota.map(|quota| quota.bytes),
        files_limit: kept.quota.map(|quota| quota.files),
    };
    let inputs = found.iter().map(|(input, readers)| summary(input, *readers)).collect();
    Ok(Json(InputListView { user, inputs, usage, next_cursor }))
}

/// `POST /api/files`: announces files, or takes a form with all of them.
pub(super) async fn create(
    State(state): State<Shared>,
    Caller(principal): Caller,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    params.finish()?;
    let id = match media_type(&headers).as_deref() {
        Some("application/json") => {
            let _seat = state.load.admit_announcement(&principal)?;
            let request = json::parse(&read_body(body, ANNOUNCEMENT_LIMIT).await?)?;
            state.inputs.announce(principal.user.clone(), announced(request)?).await?
        }
        Some("multipart/form-data") => {
            let mut body = Steady::new(body);
            let taken = take_form(&state, &principal, &headers, &mut body).await;
            body.drain().await;
            taken?
        }
        _ => {
            let hint = "send the files as multipart/form-data, or announce them as application/json";
            return Err(invalid("the body is of an unknown type", hint).into());
        }
    };
    let found = state.cluster.input(id).await?;
    Ok((StatusCode::CREATED, Json(view(&state, found).await?)).into_response())
}

/// `POST /api/files/{id}`: a form with some of the files that were announced, each under its number in the list.
pub(super) async fn add(
    State(state): State<Shared>,
    Caller(principal): Caller,
    FilesPath(of): FilesPath,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<InputSummaryView>, Failure> {
    params.finish()?;
    let mut body = Steady::new(body);
    let added = add_form(&state, &principal, of, &headers, &mut body).await;
    body.drain().await;
    let (input, readers) = state.cluster.input(added?).await?;
    Ok(Json(summary(&input, readers)))
}

async fn add_form(
    state: &Shared,
    principal: &Principal,
    of: FilesOf,
    headers: &HeaderMap,
    body: &mut Steady,
) -> Result<InputId, ApiError> {
    let id = input_only(of)?;
    find_input(state, principal, id).await?;
    if media_type(headers).as_deref() != Some("multipart/form-data") {
        return Err(invalid("the body is no form", "send it as multipart/form-data, or one file with PATCH"));
    }
    let _seat = state.load.admit_stream(principal)?;
    let files = state.cluster.input_files(id).await?;
    let mut form = Form::new(headers, body)?;
    let mut arrived = Arrived::default();
    let taken = take_numbered(state, id, &files, &mut form, &mut arrived).await;
    // What came before the form went wrong has come.
    arrived.make_known(state, id).await?;
    taken.map(|()| id)
}

/// `PATCH /api/files/{id}/{*path}`: a part of a file that was announced, from where the last one ended.
pub(super) async fn append(
    State(state): State<Shared>,
    Caller(principal): Caller,
    FilePath { of, path }: FilePath,
    mut params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let expected = digest(&mut params)?;
    let path = super::files::path_hex(&mut params)?.unwrap_or(path);
    params.finish()?;
    let offset = headers.get(OFFSET).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut body = Steady::new(body);
    let taken = take_part(&state, &principal, (of, &path), (offset, expected), &mut body).await;
    body.drain().await;
    Ok(match taken? {
        Taken::Part(file, received) => {
            ([(OFFSET, received.to_string())], Json(file_view(&file, received))).into_response()
        }
        Taken::Elsewhere(received) => {
            let message = format!("Upload-Offset: {received} bytes are there, so that the part does not fit");
            let error = ApiError::new(ErrorCode::Conflict, message, "go on from what is there");
            ([(OFFSET, received.to_string())], Failure::from(error)).into_response()
        }
    })
}

/// What became of a part.
enum Taken {
    /// So much of the file is there now.
    Part(InputFile, u64),
    /// Nothing: so much is there, and the part begins elsewhere.
    Elsewhere(u64),
}

async fn take_part(
    state: &Shared,
    principal: &Principal,
    (of, path): (FilesOf, &[u8]),
    (offset, expected): (Option<u64>, Option<[u8; 32]>),
    body: &mut Steady,
) -> Result<Taken, ApiError> {
    let id = input_only(of)?;
    find_input(state, principal, id).await?;
    let offset = offset.ok_or_else(|| {
        let hint = "give the byte that the body begins with; `GET` of the input tells how much is `received`";
        invalid("Upload-Offset: is missing or no number", hint)
    })?;
    let file = find_file(state, id, path).await?;
    if file.blake3.is_some() {
        let size = file.size;
        return Ok(Taken::Part(file, size));
    }
    let _seat = state.load.admit_stream(principal)?;
    let Some(mut upload) = state.inputs.resume(id, &file).await? else {
        let file = find_file(state, id, path).await?;
        let size = file.size;
        return Ok(Taken::Part(file, size));
    };
    if offset != upload.received() {
        return Ok(Taken::Elsewhere(upload.received()));
    }
    let replaced = upload.replaced();
    while let Some(data) = unless(&replaced, body.next()).await? {
        upload.write(data).await?;
    }
    // To its end, also when the client goes.
    let (file, received) = detached(upload.end(expected)).await?;
    Ok(Taken::Part(file, received))
}

/// Takes all files of a form as a new input.
async fn take_form(
    state: &Shared,
    principal: &Principal,
    headers: &HeaderMap,
    body: &mut Steady,
) -> Result<InputId, ApiError> {
    let _seat = state.load.admit_stream(principal)?;
    let mut form = Form::new(headers, body)?;
    let mut input = state.inputs.begin(principal.user.clone());
    let room = state.cluster.kept(principal.user.clone()).await?.room;
    let mut before = FileUsage::default();
    while let Some(part) = form.next_part().await? {
        let path = part.file_name.ok_or_else(|| {
            let hint = "give each part the path of its file: filename=\"data/a.csv\"";
            invalid("a part of the form is no file", hint)
        })?;
        let check = |bytes| match room {
            Some(room) if !before.plus(FileUsage { bytes, files: 1 }).fits(room) => Err(no_room(principal)),
            Some(_) | None => Ok(()),
        };
        check(0)?;
        let (blob, mut content) = input.begin_file(&path).await?;
        while let Some(data) = form.data().await? {
            check(content.size().saturating_add(data.len() as u64))?;
            content.write(data).await.map_err(|error| unwritable(&error))?;
        }
        before = before.plus(FileUsage { bytes: content.size(), files: 1 });
        input.end_file(path, (blob, content)).await?;
    }
    input.finish().await
}

/// Files of a form that have come and are not known yet: one commit is for many.
#[derive(Default)]
struct Arrived {
    files: Vec<(Upload, InputFile)>,
    /// When the first of them had come.
    since: Option<Instant>,
}

impl Arrived {
    /// To its end, also when the client goes.
    async fn make_known(&mut self, state: &Shared, id: InputId) -> Result<(), ApiError> {
        self.since = None;
        match std::mem::take(&mut self.files) {
            files if files.is_empty() => Ok(()),
            files => detached(Upload::make_known(state.cluster.clone(), id, files)).await,
        }
    }

    /// What comes next; before it, what has come is made known, if it is not there soon.
    async fn known_soon<T>(
        &mut self,
        state: &Shared,
        id: InputId,
        next: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let mut next = pin!(next);
        if let Some(since) = self.since {
            if let Ok(next) = timeout_at(since + SOON, next.as_mut()).await {
                return next;
            }
            self.make_known(state, id).await?;
        }
        next.await
    }
}

/// Takes files of a form that were announced. Those that are there already are passed over.
async fn take_numbered(
    state: &Shared,
    id: InputId,
    files: &[InputFile],
    form: &mut Form<'_>,
    arrived: &mut Arrived,
) -> Result<(), ApiError> {
    let mut taken = std::collections::BTreeSet::new();
    while let Some(part) = arrived.known_soon(state, id, form.next_part()).await? {
        let number = part.name.as_deref().and_then(|name| std::str::from_utf8(name).ok()?.parse::<usize>().ok());
        let file = number.and_then(|number| files.get(number)).ok_or_else(|| {
            let hint = "name each part by the number of its file in the list `files`; the first is 0";
            invalid("a part of the form is none of the files that were announced", hint)
        })?;
        if file.blake3.is_some() || !taken.insert(number) {
            continue;
        }
        let Some(mut upload) = state.inputs.begin_again(id, file).await? else { continue };
        let replaced = upload.replaced();
        while let Some(data) = arrived.known_soon(state, id, unless(&replaced, form.data())).await? {
            upload.write(data).await?;
        }
        let whole = upload.whole().await?;
        arrived.since.get_or_insert_with(Instant::now);
        arrived.files.push((upload, whole));
        if arrived.files.len() >= TOGETHER {
            arrived.make_known(state, id).await?;
        }
    }
    Ok(())
}

/// What comes next, unless somebody else brings the same file meanwhile: this connection may be dead.
async fn unless<T>(
    replaced: &CancellationToken,
    next: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    tokio::select! {
        next = next => next,
        () = replaced.cancelled() => {
            let message = "another upload of this file has taken over";
            Err(ApiError::new(ErrorCode::Conflict, message, "send each file once"))
        }
    }
}

fn no_room(principal: &Principal) -> ApiError {
    let hint = "delete what is not needed: `cloudctl files delete`";
    ApiError::new(ErrorCode::ResourceExhausted, format!("{} may keep no more files", principal.user), hint)
}

fn unwritable(error: &std::io::Error) -> ApiError {
    tracing::error!("The file store failed: {error}");
    let hint = "try again; nothing of it is kept";
    ApiError::new(ErrorCode::Unavailable, "the file cannot be stored at the moment", hint)
}

fn announced(request: AnnounceRequest) -> Result<Vec<Announced>, ApiError> {
    let file = |file: shared::view::AnnouncedFile| {
        let path = match (file.path, file.path_hex) {
            (Some(path), None) => path.into_bytes(),
            (None, Some(hex)) => {
                hex::decode(hex).map_err(|_| invalid("path_hex: is not hex", "give two digits for each byte"))?
            }
            _ => return Err(invalid("files: a file has no path, or two", "give `path` or `path_hex`")),
        };
        if file.size > FILE_LIMIT {
            let message = format!("files: {} bytes are out of range", file.size);
            return Err(invalid(message, format!("a file has at most {FILE_LIMIT} bytes")));
        }
        Ok(Announced { path, size: file.size, executable: file.executable })
    };
    request.files.into_iter().map(file).collect()
}

fn digest(params: &mut Params) -> Result<Option<[u8; 32]>, ApiError> {
    let bad = || invalid("blake3: is not a digest", "give 64 hex digits, or leave it out");
    let digest = |text: String| hex::decode(text).ok()?.try_into().ok();
    params.one::<String>("blake3")?.map(|text| digest(text).ok_or_else(bad)).transpose()
}

/// What tasks wrote is nothing that can be uploaded.
fn input_only(of: FilesOf) -> Result<InputId, ApiError> {
    match of {
        FilesOf::Input(id) => Ok(id),
        FilesOf::Task(task) => {
            let hint = "upload what a task shall read before it is submitted: POST /api/files";
            Err(ApiError::new(ErrorCode::FileNotFound, format!("there is no input {task}"), hint))
        }
    }
}

/// The file of an input by its exact path.
pub(super) async fn find_file(state: &Shared, id: InputId, path: &[u8]) -> Result<InputFile, ApiError> {
    state.cluster.input_file(id, path).await?.ok_or_else(|| {
        let message = format!("{id} has no file `{}`", show_path(path));
        ApiError::new(ErrorCode::FileNotFound, message, format!("`cloudctl files list {id}` lists its files"))
    })
}

/// An input that was found, with its files.
pub(super) async fn view(state: &Shared, (input, readers): (InputRecord, u32)) -> Result<InputView, ApiError> {
    let files = state.cluster.input_files(input.id).await?;
    let received = match input.missing {
        0 => BTreeMap::new(),
        _ => state.inputs.received(input.id).await.map_err(|error| internal("the files cannot be read", &error))?,
    };
    let received = |file: &InputFile| match file.blake3 {
        Some(_) => file.size,
        None => received.get(&file.blob).copied().unwrap_or_default().min(file.size),
    };
    let files = files.iter().map(|file| file_view(file, received(file))).collect();
    Ok(InputView { input: summary(&input, readers), files })
}

fn summary(input: &InputRecord, readers: u32) -> InputSummaryView {
    InputSummaryView {
        input_id: input.id,
        user: input.user.clone(),
        file_count: input.size.files,
        bytes: input.size.bytes,
        missing: input.missing,
        readers,
        created_at: input.created_at,
        used_at: input.used_at,
    }
}

fn file_view(file: &InputFile, received: u64) -> InputFileView {
    InputFileView {
        path: String::from_utf8_lossy(&file.path).into_owned(),
        path_hex: std::str::from_utf8(&file.path).is_err().then(|| hex::encode(&file.path)),
        size: file.size,
        executable: file.executable,
        received,
        blake3: file.blake3.map(hex::encode),
    }
}
