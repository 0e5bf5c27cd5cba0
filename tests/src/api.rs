//! A client of the HTTP admin API, as thin as can be.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::error::{ApiError, ErrorBody};
use shared::role::Role;
use shared::submit::SubmitRequest;
use shared::view::{
    CreateTokenRequest, CreateUserRequest, CreateWorkerTokenRequest, FileListView, LoginRequest, LoginView,
    NewTokenView, NewWorkerTokenView, StatusView, SubmitLineView, SubmitView, TaskListView, TaskView, UserView,
    WhyView, WorkerListView, WorkerView,
};
use shared::worker::WorkerState;

use crate::master::ADMIN_PASSWORD;
use crate::wait::eventually;

/// Why a call has no result.
#[derive(Debug)]
pub enum Failure {
    /// The master refused it.
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        error: ApiError,
    },
    /// There was no answer, or none that can be understood: it is not known whether the call took effect.
    Unknown(String),
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Unknown(format!("{error:?}"))
    }
}

/// A client with a token.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    token: String,
    client: reqwest::Client,
}

impl Api {
    /// A client for the master at `base` (`http://HOST:PORT`). An empty token: none is sent.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn new(base: String, token: String) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build();
        Self { base, token, client: client.expect("an HTTP client") }
    }

    /// The same client as somebody else.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Somebody new, logged in; their password is [`ADMIN_PASSWORD`] too. For admins.
    ///
    /// # Panics
    /// When there is such an account, or the caller is no admin.
    pub async fn somebody(&self, name: &str, role: Role) -> Self {
        let (username, password) = (name.to_owned(), ADMIN_PASSWORD.to_owned());
        let request = CreateUserRequest { username, password, role: Some(role) };
        self.post::<UserView>("/api/users", &request).await.expect("an account");
        self.with_token(&self.log_in(name).await.token)
    }

    /// A new login of somebody with the password [`ADMIN_PASSWORD`].
    ///
    /// # Panics
    /// When it is refused.
    pub async fn log_in(&self, name: &str) -> LoginView {
        let request = LoginRequest { username: name.to_owned(), password: ADMIN_PASSWORD.to_owned() };
        self.post("/api/auth/login", &request).await.expect("a login")
    }

    /// The same caller with a token that outlives a long test; one of a login ends after a quarter of an hour.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn for_long(&self) -> Self {
        let request = CreateTokenRequest { name: "a long test".to_owned(), role: None, ttl_seconds: None };
        self.with_token(&self.post::<NewTokenView>("/api/tokens", &request).await.expect("a token").token)
    }

    /// A request, to be changed before it is sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, Failure> {
        let response = request.send().await?;
        let status = response.status();
        let body = response.bytes().await?;
        if status.is_success() {
            return Ok(body.into());
        }
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(ErrorBody { error }) => Err(Failure::Refused { status: status.as_u16(), error }),
            Err(_) => Err(Failure::Unknown(format!("{status}: {}", String::from_utf8_lossy(&body)))),
        }
    }

    /// GET, JSON.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        parse(&self.send(self.request(Method::GET, path)).await?)
    }

    /// GET, bytes.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn get_bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST, JSON both ways.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<T, Failure> {
        parse(&self.send(self.request(Method::POST, path).json(body)).await?)
    }

    /// Lets one worker join, within a quarter of an hour.
    ///
    /// # Panics
    /// When the master makes none.
    pub async fn join_token(&self) -> String {
        let request = CreateWorkerTokenRequest::default();
        let made: NewWorkerTokenView = self.post("/api/worker-tokens", &request).await.expect("a join token");
        made.token
    }

    /// Whether the master says that it is ready.
    pub fn is_ready(&self) -> impl Future<Output = bool> + use<> {
        let request = self.request(Method::GET, "/health/ready").timeout(Duration::from_secs(5));
        async move { request.send().await.is_ok_and(|response| response.status().is_success()) }
    }

    /// Submits one task.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn submit(&self, task: &SubmitRequest) -> Result<SubmitView, Failure> {
        self.post("/api/tasks", task).await
    }

    /// Submits one task with an `Idempotency-Key`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn submit_with_key(&self, key: &str, task: &SubmitRequest) -> Result<SubmitView, Failure> {
        let request = self.request(Method::POST, "/api/tasks").header("Idempotency-Key", key).json(task);
        parse(&self.send(request).await?)
    }

    /// Submits many tasks at once; one answer per task, in their order.
    ///
    /// # Errors
    /// See [`Failure`].
    ///
    /// # Panics
    /// When a task cannot be written as JSON.
    pub async fn submit_many(&self, tasks: &[SubmitRequest]) -> Result<Vec<SubmitLineView>, Failure> {
        let mut body = String::new();
        for task in tasks {
            body.push_str(&serde_json::to_string(task).expect("JSON"));
            body.push('\n');
        }
        let request = self.request(Method::POST, "/api/tasks").header("Content-Type", "application/x-ndjson");
        let answer = self.send(request.body(body)).await?;
        answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse).collect()
    }

    /// A task.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn task(&self, id: &str) -> Result<TaskView, Failure> {
        self.get(&format!("/api/tasks/{id}")).await
    }

    /// All tasks, newest first.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn tasks(&self) -> Result<Vec<TaskView>, Failure> {
        self.get::<TaskListView>("/api/tasks?limit=1000").await.map(|list| list.tasks)
    }

    /// Waits until a task has ended. The master may be away meanwhile.
    ///
    /// # Panics
    /// When the deadline passes.
    pub async fn ended(&self, deadline: Duration, id: &str) -> TaskView {
        eventually(deadline, &format!("the end of {id}"), || async {
            self.task(id).await.ok().filter(|task| task.state.is_final())
        })
        .await
    }

    /// Waits until a task has written `text` to its log.
    ///
    /// # Panics
    /// When the deadline passes.
    pub async fn said(&self, deadline: Duration, id: &str, text: &str) {
        eventually(deadline, &format!("{id} says {text}"), || async {
            let log = self.get_bytes(&format!("/api/tasks/{id}/logs")).await.ok()?;
            String::from_utf8_lossy(&log).contains(text).then_some(())
        })
        .await;
    }

    /// The output files of a task.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn files(&self, id: &str) -> Result<FileListView, Failure> {
        self.get(&format!("/api/tasks/{id}/files")).await
    }

    /// The cluster in numbers.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn status(&self) -> Result<StatusView, Failure> {
        self.get("/api/status").await
    }

    /// All workers.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn workers(&self) -> Result<Vec<WorkerView>, Failure> {
        self.get::<WorkerListView>("/api/workers").await.map(|list| list.workers)
    }

    /// Why a task waits.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn why(&self, id: &str) -> Result<WhyView, Failure> {
        self.get(&format!("/api/tasks/{id}/why")).await
    }

    /// Waits until a worker is in a state.
    ///
    /// # Panics
    /// When the deadline passes.
    pub async fn worker_is(&self, deadline: Duration, name: &str, state: WorkerState) -> WorkerView {
        eventually(deadline, &format!("worker {name} is {state}"), || async {
            let workers = self.workers().await.ok()?;
            workers.into_iter().find(|worker| worker.worker_id.as_str() == name && worker.state == state)
        })
        .await
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::Unknown(format!("{error} in {}", String::from_utf8_lossy(body))))
}
