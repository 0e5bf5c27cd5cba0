//! Every request of the admin API that cloudctl makes, in one list; those about joining workers in [`admission`].

mod admission;
mod registries;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RANGE};
use shared::files_of::{FilesOf, PLAIN_PATH};
use shared::id::{InputId, TaskId, TaskRef, TokenId};
use shared::submit::{SubmitRequest, TaskEdit};
use shared::task::TaskState;
use shared::view::{
    AnnounceRequest, AuditListView, CancelView, CreateTokenRequest, CreateUserRequest, DeletedFilesView, DryRunView,
    FileListView, FileView, InputFileView, InputListView, InputSummaryView, InputView, InternalStateView,
    InviteRequest, InviteView, KeysView, LogSearchView, LoginRequest, LoginView, LogoutRequest, MeView, NewTokenView,
    PasswordRequest, QueueView, RegisterRequest, RepairView, RetryRequest, SetupRequest, ShutdownRequest, ShutdownView,
    StatusView, SubmitView, TaskListView, TaskView, TokenListView, UpdateUserRequest, UserFilesView, UserListView,
    UserView, WaitRequest, WaitView, WhyView, WorkerListView, WorkerView,
};

use super::{Client, READ_TIMEOUT};
use crate::exit::CtlError;

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskFilter {
    /// In this state.
    pub(crate) state: Option<TaskState>,
    /// Of this user.
    pub(crate) user: Option<String>,
    /// Run on this worker.
    pub(crate) worker: Option<String>,
    /// With all of these labels.
    pub(crate) labels: Vec<(String, String)>,
    /// Submitted since; RFC 3339.
    pub(crate) since: Option<String>,
    /// Submitted before; RFC 3339.
    pub(crate) until: Option<String>,
}

/// What to look for in a log.
#[derive(Debug, Clone)]
pub(crate) struct LogSearch {
    /// A text.
    pub(crate) pattern: String,
    /// It is a regular expression.
    pub(crate) regex: bool,
    /// Upper and lower case are the same.
    pub(crate) ignore_case: bool,
    /// Only in this stream.
    pub(crate) stream: Option<&'static str>,
    /// Only in this run.
    pub(crate) attempt: Option<u32>,
}

impl TaskFilter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        query.extend(self.state.map(|state| ("state", state.to_string())));
        query.extend(self.user.clone().map(|user| ("user", user)));
        query.extend(self.worker.clone().map(|worker| ("worker", worker)));
        query.extend(self.labels.iter().map(|(name, value)| ("label", format!("{name}={value}"))));
        query.extend(self.since.clone().map(|since| ("since", since)));
        query.extend(self.until.clone().map(|until| ("until", until)));
        query
    }
}

impl Client {
    /// Makes the first admin and logs in.
    pub(crate) async fn setup(&self, request: &SetupRequest) -> Result<LoginView, CtlError> {
        self.post("api/auth/setup", request).await
    }

    /// Logs in.
    pub(crate) async fn login(&self, request: &LoginRequest) -> Result<LoginView, CtlError> {
        self.post("api/auth/login", request).await
    }

    /// Makes an account for whoever calls.
    pub(crate) async fn register(&self, request: &RegisterRequest) -> Result<LoginView, CtlError> {
        self.post("api/auth/register", request).await
    }

    /// Another password for whoever calls.
    pub(crate) async fn password(&self, request: &PasswordRequest) -> Result<(), CtlError> {
        self.send(self.http.post(self.url("api/auth/password")?).json(request)).await.map(drop)
    }

    /// Ends this login, or all logins of whoever calls.
    pub(crate) async fn logout(&self, everywhere: bool) -> Result<(), CtlError> {
        let request = LogoutRequest { everywhere };
        self.send(self.http.post(self.url("api/auth/logout")?).json(&request)).await.map(drop)
    }

    /// A page of the audit log.
    pub(crate) async fn audit(&self, query: &[(&str, String)]) -> Result<AuditListView, CtlError> {
        self.get("api/audit", query).await
    }

    /// Lets the master sign with a new key.
    pub(crate) async fn rotate_keys(&self) -> Result<KeysView, CtlError> {
        self.post("api/auth/rotate-keys", &serde_json::json!({})).await
    }

    /// The accounts that one may see.
    pub(crate) async fn users(&self) -> Result<UserListView, CtlError> {
        self.get("api/users", &[]).await
    }

    /// One account.
    pub(crate) async fn user(&self, name: &str) -> Result<UserView, CtlError> {
        self.get(&user_path(name), &[]).await
    }

    /// Makes an account for somebody else.
    pub(crate) async fn create_user(&self, request: &CreateUserRequest) -> Result<UserView, CtlError> {
        self.post("api/users", request).await
    }

    /// Changes an account.
    pub(crate) async fn update_user(&self, name: &str, request: &UpdateUserRequest) -> Result<UserView, CtlError> {
        self.patch(&user_path(name), request).await
    }

    /// Ends all logins of an account.
    pub(crate) async fn end_logins(&self, name: &str) -> Result<(), CtlError> {
        self.send(self.http.post(self.url(&format!("{}/logout", user_path(name)))?)).await.map(drop)
    }

    /// Something for somebody to make an account with.
    pub(crate) async fn invite(&self, request: &InviteRequest) -> Result<InviteView, CtlError> {
        self.post("api/invites", request).await
    }

    /// The personal tokens that one may see.
    pub(crate) async fn tokens(&self) -> Result<TokenListView, CtlError> {
        self.get("api/tokens", &[]).await
    }

    /// Makes a personal token.
    pub(crate) async fn create_token(&self, request: &CreateTokenRequest) -> Result<NewTokenView, CtlError> {
        self.post("api/tokens", request).await
    }

    /// Ends a personal token.
    pub(crate) async fn revoke_token(&self, id: TokenId) -> Result<(), CtlError> {
        self.remove(&format!("api/tokens/{id}")).await
    }

    /// Who the token stands for.
    pub(crate) async fn me(&self) -> Result<MeView, CtlError> {
        self.get("api/auth/me", &[]).await
    }

    /// Submits a task. The same key never makes two.
    pub(crate) async fn submit(&self, request: &SubmitRequest, key: &str) -> Result<SubmitView, CtlError> {
        let request = self.http.post(self.url("api/tasks")?).header("idempotency-key", key).json(request);
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// Submits the tasks of these lines, each JSON with a line end. The answer has a line for each; `first` is the number
    /// of the first of them among all that go by this key.
    pub(crate) async fn submit_lines(
        &self,
        lines: Bytes,
        key: &str,
        first: u64,
    ) -> Result<reqwest::Response, CtlError> {
        let request = self
            .http
            .post(self.url("api/tasks")?)
            .query(&[("first", first)])
            .header("idempotency-key", key)
            .header(CONTENT_TYPE, "application/x-ndjson")
            .body(lines);
        self.send(request).await
    }

    /// What would become of a task, if it was submitted by this key where there is one.
    pub(crate) async fn dry_run(&self, request: &SubmitRequest, key: Option<&str>) -> Result<DryRunView, CtlError> {
        let request = self.http.post(self.url("api/tasks?dry_run=true")?).json(request);
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// Runs a task again. The same key never makes two.
    pub(crate) async fn retry(&self, id: TaskRef, all: bool, key: &str) -> Result<SubmitView, CtlError> {
        let url = self.url(&format!("api/tasks/{id}/retry"))?;
        let request = self.http.post(url).header("idempotency-key", key).json(&RetryRequest { all });
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// Waits for tasks, for as long as the request says.
    pub(crate) async fn wait(&self, request: &WaitRequest) -> Result<WaitView, CtlError> {
        let seconds = request.timeout_seconds.unwrap_or_default();
        let patience = READ_TIMEOUT + std::time::Duration::from_secs(seconds);
        let request = self.http.post(self.url("api/tasks/wait")?).timeout(patience).json(request);
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// One page of tasks, newest first.
    pub(crate) async fn tasks(
        &self,
        filter: &TaskFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<TaskListView, CtlError> {
        let mut query = filter.query();
        query.push(("limit", limit.to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        self.get("api/tasks", &query).await
    }

    /// One task, with its runs.
    pub(crate) async fn task(&self, id: TaskRef) -> Result<TaskView, CtlError> {
        self.get(&format!("api/tasks/{id}"), &[]).await
    }

    /// Cancels a task, or one element of it.
    pub(crate) async fn cancel(&self, id: TaskRef, force: bool) -> Result<CancelView, CtlError> {
        let force = if force { "?force=true" } else { "" };
        self.post(&format!("api/tasks/{id}/cancel{force}"), &serde_json::json!({})).await
    }

    /// Gives it another name or other labels.
    pub(crate) async fn edit(&self, id: TaskId, edit: &TaskEdit) -> Result<TaskView, CtlError> {
        self.patch(&format!("api/tasks/{id}"), edit).await
    }

    /// Forgets it.
    pub(crate) async fn delete(&self, id: TaskRef) -> Result<(), CtlError> {
        self.remove(&format!("api/tasks/{id}")).await
    }

    /// A page of the lines of its log that match.
    pub(crate) async fn search_log(
        &self,
        id: TaskRef,
        search: &LogSearch,
        cursor: Option<&str>,
    ) -> Result<LogSearchView, CtlError> {
        let LogSearch { pattern, regex, ignore_case, stream, attempt } = search;
        let mut query = vec![("pattern", pattern.clone()), ("limit", "1000".to_owned())];
        query.extend([("regex", regex.to_string()), ("ignore_case", ignore_case.to_string())]);
        query.extend(stream.map(|stream| ("stream", stream.to_owned())));
        query.extend(attempt.map(|attempt| ("attempt", attempt.to_string())));
        query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        self.get(&format!("api/tasks/{id}/logs/search"), &query).await
    }

    /// Why it waits.
    pub(crate) async fn why(&self, id: TaskRef) -> Result<WhyView, CtlError> {
        self.get(&format!("api/tasks/{id}/why"), &[]).await
    }

    /// Its output files.
    pub(crate) async fn files(&self, id: TaskRef) -> Result<FileListView, CtlError> {
        self.get(&format!("api/tasks/{id}/files"), &[]).await
    }

    /// One page of the output files of a user, the newest task first.
    pub(crate) async fn user_files(
        &self,
        user: Option<&str>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<UserFilesView, CtlError> {
        self.get("api/files", &page_of(user, cursor, limit)).await
    }

    /// The content of a file of a task or an input, from `offset` on; `path` is the exact path. No request has room for a very
    /// long one: that is named by its digest.
    pub(crate) async fn file(
        &self,
        of: FilesOf,
        file: &FileView,
        path: &[u8],
        offset: u64,
    ) -> Result<reqwest::Response, CtlError> {
        let mut request = match of {
            FilesOf::Task(id) => {
                let url = self.url(&file_url(&FilesOf::Task(id.task.into()), path))?;
                self.http.get(url).query(&[("index", file.index), ("attempt", file.attempt)])
            }
            FilesOf::Input(id) => self.http.get(self.url(&format!("api/files/{id}/{}", encode_path(path)))?),
        };
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        self.send(request).await
    }

    /// Says what is going to be uploaded.
    pub(crate) async fn announce(&self, request: &AnnounceRequest) -> Result<InputView, CtlError> {
        self.post("api/files", request).await
    }

    /// An input with its files.
    pub(crate) async fn input(&self, id: InputId) -> Result<InputView, CtlError> {
        self.get(&format!("api/files/{id}"), &[]).await
    }

    /// One page of what a user has uploaded, the newest first.
    pub(crate) async fn inputs(
        &self,
        user: Option<&str>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<InputListView, CtlError> {
        self.get("api/inputs", &page_of(user, cursor, limit)).await
    }

    /// Sends many files of an input as one form.
    pub(crate) async fn upload_form(
        &self,
        id: InputId,
        boundary: &str,
        body: reqwest::Body,
    ) -> Result<InputSummaryView, CtlError> {
        let url = self.url(&format!("api/files/{id}"))?;
        let kind = format!("multipart/form-data; boundary={boundary}");
        let response = self.send(self.http.post(url).header(CONTENT_TYPE, kind).body(body)).await?;
        self.read(response).await
    }

    /// Sends a file of an input from `offset` on.
    pub(crate) async fn upload_part(
        &self,
        id: InputId,
        path: &[u8],
        offset: u64,
        body: reqwest::Body,
    ) -> Result<InputFileView, CtlError> {
        let url = self.url(&format!("api/files/{id}/{}", encode_path(path)))?;
        let response = self.send(self.http.patch(url).header("upload-offset", offset).body(body)).await?;
        self.read(response).await
    }

    /// Deletes files of a task, all or the one of this path; or an input.
    pub(crate) async fn delete_files(&self, of: FilesOf, path: Option<&[u8]>) -> Result<DeletedFilesView, CtlError> {
        let url = match path {
            None => format!("api/files/{of}"),
            Some(path) => file_url(&of, path),
        };
        let response = self.send(self.http.delete(self.url(&url)?)).await?;
        self.read(response).await
    }

    /// All workers.
    pub(crate) async fn workers(&self) -> Result<WorkerListView, CtlError> {
        self.get("api/workers", &[]).await
    }

    /// One worker.
    pub(crate) async fn worker(&self, name: &str) -> Result<WorkerView, CtlError> {
        self.get(&format!("api/workers/{}", encode_segment(name.as_bytes())), &[]).await
    }

    /// Everything that the core knows.
    pub(crate) async fn internal_state(&self) -> Result<InternalStateView, CtlError> {
        self.get("api/internal-state", &[]).await
    }

    /// Compares the books with what is there, and mends what differs.
    pub(crate) async fn fix_resources(&self) -> Result<RepairView, CtlError> {
        self.post("api/fix-resources", &serde_json::json!({})).await
    }

    /// What waits.
    pub(crate) async fn queue(&self, limit: u32) -> Result<QueueView, CtlError> {
        self.get("api/queue", &[("limit", limit.to_string())]).await
    }

    /// The cluster in numbers.
    pub(crate) async fn status(&self) -> Result<StatusView, CtlError> {
        self.get("api/status", &[]).await
    }

    /// Stops the master.
    pub(crate) async fn shutdown(&self, drain: bool) -> Result<ShutdownView, CtlError> {
        self.post("api/shutdown", &ShutdownRequest { drain }).await
    }
}

/// What asks for one page of what belongs to a user.
fn page_of(user: Option<&str>, cursor: Option<&str>, limit: u32) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(user.map(|user| ("user", user.to_owned())));
    query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
    query
}

fn user_path(name: &str) -> String {
    format!("api/users/{}", encode_segment(name.as_bytes()))
}

/// The same for one part of a path, in which a slash does not separate.
fn encode_segment(segment: &[u8]) -> String {
    encode_path(segment).replace('/', "%2F")
}

/// Of one file.
fn file_url(of: &FilesOf, path: &[u8]) -> String {
    if path.len() > PLAIN_PATH {
        return format!("api/files/{of}/-?path_blake3={}", blake3::hash(path).to_hex());
    }
    format!("api/files/{of}/{}", encode_path(path))
}

/// Every byte that is not plainly harmless in a URL as `%XX`. A slash stays: it separates.
fn encode_path(path: &[u8]) -> String {
    let mut encoded = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_any_bytes_become_urls() {
        assert_eq!(encode_path(b"a/b-1._~"), "a/b-1._~");
        assert_eq!(encode_path(b"a b?#%\xff\n"), "a%20b%3F%23%25%FF%0A");
        assert_eq!(encode_segment(b"../x"), "..%2Fx");
    }

    #[test]
    fn a_file_is_named_by_its_path_or_where_that_is_long_by_its_digest() {
        let task = "task-01arz3ndektsv4rrffq69g5fav";
        let of: FilesOf = task.parse().expect("an id");
        let longest = vec![b'\xff'; PLAIN_PATH];
        assert_eq!(file_url(&of, b"a/b c"), format!("api/files/{task}/a/b%20c"));
        assert_eq!(file_url(&of, &longest), format!("api/files/{task}/{}", "%FF".repeat(PLAIN_PATH)));
        let longer = vec![b'\xff'; PLAIN_PATH + 1];
        let digest = blake3::hash(&longer).to_hex();
        assert_eq!(file_url(&of, &longer), format!("api/files/{task}/-?path_blake3={digest}"));
    }

    #[test]
    fn filters_become_a_query() {
        let filter = TaskFilter {
            state: Some(TaskState::Running),
            labels: vec![("a".into(), "1".into()), ("b".into(), "x=y".into())],
            ..TaskFilter::default()
        };
        let expected = [("state", "running"), ("label", "a=1"), ("label", "b=x=y")];
        assert_eq!(filter.query(), expected.map(|(name, value)| (name, value.to_owned())));
    }
}
