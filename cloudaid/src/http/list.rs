//! The list of all paths: what each does, and who may call it.

use axum::Router;
use axum::http::StatusCode;
use shared::error::ErrorCode;
use shared::id::{TaskRef, TokenId, UserName, WorkerId};
use shared::submit::{SubmitRequest, TaskEdit};
use shared::task::TaskState;
use shared::time::WallTime;
use shared::view::{
    AuditListView, AuthorityView, CancelView, CreateTokenRequest, CreateUserRequest, DryRunView, FileListView,
    HealthView, InternalStateView, InviteRequest, InviteView, KeysView, LogSearchView, LoginRequest, LoginView,
    LogoutRequest, MeView, NewTokenView, PasswordRequest, QueueView, ReadyView, RefreshRequest, RegisterRequest,
    RepairView, RetryRequest, SetupRequest, ShutdownRequest, ShutdownView, StatusView, SubmitLineView, SubmitView,
    TaskCounts, TaskListView, TaskView, TokenListView, UpdateUserRequest, UserListView, UserView, WaitRequest,
    WaitView, WhyView,
};

mod of_files;
mod of_workers;

use super::describe::{BYTES, Doc, bytes, doc, one_of, pattern, switch, text, whole};
use super::routes::{Listed, Right, Routes};
use super::{
    Shared, admission, audit, auth, cluster, docs, events, files, follow, health, log_search, logs, submit, tasks,
    telemetry, tokens, users,
};

const OK: StatusCode = StatusCode::OK;
const CREATED: StatusCode = StatusCode::CREATED;
const NO_CONTENT: StatusCode = StatusCode::NO_CONTENT;

/// All paths, and who may call each.
pub(super) fn routes(state: &Shared) -> (Router<Shared>, Vec<Listed>) {
    let routes = Routes::new(state.clone());
    let routes = of_files::files_paths(task_paths(people_paths(auth_paths(routes))));
    let routes = cluster_paths(of_workers::worker_paths(public_paths(routes)));
    routes
        .socket("/ws/tasks/{id}/logs", Right::Look, follow::follow)
        .socket("/ws/telemetry", Right::Look, telemetry::follow)
        .socket("/ws/telemetry/{id}", Right::Look, telemetry::follow_one)
        .socket("/ws/events", Right::Look, events::follow)
        .finish()
}

fn auth_paths(routes: Routes) -> Routes {
    use ErrorCode::{Conflict, Unauthenticated};
    use Right::{Administer, Look, Own, Public};
    routes
        .post("/api/auth/setup", Public, auth::setup, doc("Make the first account, an admin")
            .about("For whoever holds the token that the master keeps in `setup.token` until then.")
            .body::<SetupRequest>()
            .answers::<LoginView>(CREATED, "It is made, and logged in")
            .refused(&[Unauthenticated, Conflict]))
        .post("/api/auth/register", Public, auth::register, doc("Make an account for oneself")
            .about("Whether that needs an invitation, or is possible at all, is up to the master's configuration.")
            .body::<RegisterRequest>()
            .answers::<LoginView>(CREATED, "It is made, and logged in")
            .refused(&[Conflict]))
        .post("/api/auth/login", Public, auth::login, doc("Log in")
            .about("Unknown names, wrong passwords, disabled accounts and such as take no passwords for a while are told \
                    alike. The token lets in for minutes; `refresh_token` gets the next one.")
            .body::<LoginRequest>()
            .answers::<LoginView>(OK, "Logged in")
            .refused(&[Unauthenticated]))
        .post("/api/auth/cookie", Public, auth::cookie, doc("Log in with a browser")
            .about("Sets a cookie that only pages of this master, and of sites that its configuration names, can use.")
            .body::<LoginRequest>()
            .answers::<MeView>(OK, "Logged in")
            .refused(&[Unauthenticated]))
        .post("/api/auth/refresh", Public, auth::refresh, doc("Renew the tokens of a login")
            .about("Each token that renews is good once. For a minute it gives the same successor again, as an answer may \
                    be lost; used after that, it ends the login, because two have it.")
            .body::<RefreshRequest>()
            .answers::<LoginView>(OK, "Renewed")
            .refused(&[Unauthenticated]))
        .post("/api/auth/logout", Look, auth::logout, doc("Log out")
            .maybe_body::<LogoutRequest>()
            .done(NO_CONTENT, "The login has ended")
            .refused(&[Conflict]))
        .post("/api/auth/password", Own, auth::password, doc("Change one's own password")
            .about("All other logins of the account end.")
            .body::<PasswordRequest>()
            .done(NO_CONTENT, "It is changed"))
        .get("/api/auth/me", Look, auth::me, doc("Who one is").answers::<MeView>(OK, "That"))
        .post("/api/auth/rotate-keys", Administer, auth::rotate_keys, doc("Sign tokens with a new key")
            .about("What the present key has signed stays good; what the one before it has signed does not.")
            .answers::<KeysView>(OK, "The keys from now on")
            .refused(&[Conflict]))
        .post("/api/auth/authority/rotate", Administer, admission::rotate_authority, doc("Sign certificates with a new authority")
            .about("The one before it is believed until nobody has a certificate of it that may be renewed.")
            .answers::<AuthorityView>(OK, "The authority from now on"))
}

fn people_paths(routes: Routes) -> Routes {
    use ErrorCode::{Conflict, NotFound, ResourceExhausted, UserNotFound};
    use Right::{Administer, Look, Own};
    let user = |doc: Doc| doc.path_of::<UserName>("name", "The user").refused(&[UserNotFound]);
    routes
        .get(
            "/api/users",
            Look,
            users::list,
            doc("List accounts")
                .about("Admins see all, others themselves.")
                .answers::<UserListView>(OK, "The accounts"),
        )
        .post(
            "/api/users",
            Administer,
            users::create,
            doc("Make an account for somebody")
                .body::<CreateUserRequest>()
                .answers::<UserView>(CREATED, "It is made")
                .refused(&[Conflict]),
        )
        .get(
            "/api/users/{name}",
            Look,
            users::show,
            user(doc("Show an account")).answers::<UserView>(OK, "The account"),
        )
        .patch(
            "/api/users/{name}",
            Administer,
            users::update,
            user(doc("Change an account"))
                .about("All that is named or nothing. If anything of it is new, all logins of the account end.")
                .body::<UpdateUserRequest>()
                .answers::<UserView>(OK, "As it is now")
                .refused(&[Conflict]),
        )
        .post(
            "/api/users/{name}/logout",
            Administer,
            users::logout,
            user(doc("End all logins of an account")).done(NO_CONTENT, "They have ended"),
        )
        .post(
            "/api/invites",
            Administer,
            users::invite,
            doc("Invite somebody to make an account")
                .body::<InviteRequest>()
                .answers::<InviteView>(CREATED, "For `POST /api/auth/register`")
                .refused(&[Conflict]),
        )
        .get(
            "/api/tokens",
            Look,
            tokens::list,
            doc("List personal tokens")
                .about("Admins see all, others their own. The tokens themselves are not kept.")
                .answers::<TokenListView>(OK, "The tokens"),
        )
        .post(
            "/api/tokens",
            Own,
            tokens::create,
            doc("Make a personal token, for a script")
                .body::<CreateTokenRequest>()
                .answers::<NewTokenView>(CREATED, "The token, shown only now")
                .refused(&[ResourceExhausted, UserNotFound]),
        )
        .delete(
            "/api/tokens/{id}",
            Own,
            tokens::revoke,
            doc("End a personal token")
                .path_of::<TokenId>("id", "The token")
                .done(NO_CONTENT, "It works no longer")
                .refused(&[NotFound]),
        )
}

/// The filters of a list of tasks.
fn task_filters(doc: Doc) -> Doc {
    let label = pattern("^[^=]+=.*$");
    doc.query_of::<TaskState>("state", "In this state, as a whole")
        .query_of::<UserName>("user", "Of this user; others than oneself are for admins")
        .query("label", label, "With this label, as NAME=VALUE; may be given often")
        .query_of::<WorkerId>("worker", "With a run on this worker")
        .query_of::<WallTime>("since", "Submitted at this time or later")
        .query_of::<WallTime>("until", "Submitted before this time")
}

fn task_paths(routes: Routes) -> Routes {
    use ErrorCode::{
        Conflict, IdempotencyKeyReused, NotFound, TaskEnded, TaskNotFound, Timeout, TooLarge, WorkerNotFound,
    };
    use Right::{Change, Look};
    let task = |doc: Doc| doc.path_of::<TaskRef>("id", "The task, element or elements").refused(&[TaskNotFound]);
    let key = |doc: Doc| {
        let text = pattern("^[ -~]{1,255}$");
        doc.header("Idempotency-Key", text, "The same key never makes a second task").refused(&[IdempotencyKeyReused])
    };
    let stream = || one_of(&["stdout", "stderr", "both"]);
    let attempt =
        |doc: Doc| doc.query("attempt", whole(1, Some(u64::from(u32::MAX))), "Of this run; the last one if left out");
    routes
        .get("/api/tasks", Look, tasks::list, task_filters(doc("List tasks, newest first"))
            .query("limit", whole(1, Some(1000)), "The most of a page; 100 if left out")
            .query("cursor", pattern("^[0-9]{1,19}$"), "`next_cursor` of the last page")
            .answers::<TaskListView>(OK, "A page"))
        .post("/api/tasks", Change, submit::submit, submission(key(doc("Submit tasks"))
            .about("One as JSON, or many as NDJSON, one a line. A line that is refused does not keep the others from being \
                    accepted: the answer has a line for each. What is acknowledged is durable.")
            .body::<SubmitRequest>()
            .query("dry_run", switch(), "Keep nothing: say what would become of it")
            .query("first", whole(1, None), "With NDJSON: the number of its first line among all that go by the key")
            .refused(&[WorkerNotFound, TooLarge, Timeout])))
        .get("/api/tasks/counts", Look, tasks::counts, task_filters(doc("Count tasks by state"))
            .answers::<TaskCounts>(OK, "How many there are in each state"))
        .wait("/api/tasks/wait", Look, tasks::wait, doc("Wait until tasks have ended")
            .body::<WaitRequest>()
            .answers::<WaitView>(OK, "What has ended by now, and what has not")
            .refused(&[TaskNotFound]))
        .get("/api/tasks/{id}", Look, tasks::show, task(doc("Show a task with its runs")).answers::<TaskView>(OK, "The task"))
        .patch("/api/tasks/{id}", Change, tasks::edit, task(doc("Give a task another name or other labels"))
            .about("While all of it waits. What is not named stays; null takes away (RFC 7396).")
            .body::<TaskEdit>()
            .answers::<TaskView>(OK, "As it is now")
            .refused(&[Conflict]))
        .delete("/api/tasks/{id}", Change, tasks::delete, task(doc("Delete a task that has ended"))
            .about("With its logs and files.")
            .done(NO_CONTENT, "It is no more")
            .refused(&[Conflict]))
        .post("/api/tasks/{id}/cancel", Change, tasks::cancel, task(doc("Cancel a task"))
            .about("By force it ends at once, without the word of its worker: for what is unreachable. What still runs is stopped when the worker is heard of.")
            .query("force", switch(), "Do not wait for the worker")
            .answers::<CancelView>(OK, "Where it stands; a worker may still have to stop it")
            .refused(&[TaskEnded]))
        .post("/api/tasks/{id}/retry", Change, tasks::retry, key(task(doc("Run a task again, as a new one")))
            .about("Of an array, the elements that did not succeed.")
            .maybe_body::<RetryRequest>()
            .answers::<SubmitView>(CREATED, "The new task")
            .answers::<SubmitView>(OK, "The task that this key has made before")
            .refused(&[Conflict, WorkerNotFound]))
        .get("/api/tasks/{id}/why", Look, tasks::why, task(doc("Say why a task waits")).answers::<WhyView>(OK, "Why"))
        .get("/api/tasks/{id}/logs", Look, logs::read, attempt(task(doc("Read the log of a task")))
            .query("stream", stream(), "Which; both, as they came, if left out")
            .query(
                "offset",
                whole(0, None),
                "From this byte on of what there is. Who goes on later asks for one stream: of both together, what is cut from \
                 the middle moves what follows",
            )
            .query("limit", whole(0, None), "The most bytes")
            .query("tail", whole(0, Some(10_000)), "Only the last lines; not with offset or limit")
            .answers_as(OK, BYTES, bytes(), "The bytes, as they were written")
            .says("Cloudai-Log-Cut", LOG_CUT)
            .refused(&[NotFound]))
        .get("/api/tasks/{id}/logs/search", Look, log_search::search, attempt(task(doc("Search the log of a task")))
            .needs("pattern", pattern("^[^\\u0000]{1,250}$"), "What a line has to contain")
            .query("regex", switch(), "The pattern is a regular expression")
            .query("ignore_case", switch(), "Upper and lower case are the same")
            .query("stream", stream(), "Which; both if left out")
            .query("limit", whole(1, Some(1000)), "The most lines; 100 if left out")
            .query("cursor", pattern("^[0-9]{1,19}\\.[0-9]{1,19}$"), "`next_cursor` of the last page")
            .answers::<LogSearchView>(OK, "The lines that match")
            .says("Cloudai-Log-Cut", LOG_CUT)
            .refused(&[NotFound]))
        .get("/api/tasks/{id}/files", Look, files::list, task(doc("List the output files of a task"))
            .answers::<FileListView>(OK, "The files"))
}

/// Of answers about logs.
const LOG_CUT: &str = "What is not kept of the log, of each stream the first byte that is gone and the first that is there \
    again: `stdout=10..20; stderr=0..0`, several separated by commas; absent: all of it is there";

fn submission(mut doc: Doc) -> Doc {
    let (dry_run, line) = (doc.refer::<DryRunView>(), doc.refer::<SubmitLineView>());
    let one_of = utoipa::openapi::OneOfBuilder::new().item(doc.refer::<SubmitView>()).item(dry_run);
    let schema: utoipa::openapi::Schema = one_of.into();
    doc.or_body("application/x-ndjson", text())
        .answers::<SubmitView>(CREATED, "Accepted")
        .answers_as(OK, "application/json", schema, "What was accepted before by this key, or would become of it")
        .or_answers("application/x-ndjson", line)
}

fn public_paths(routes: Routes) -> Routes {
    use Right::Public;
    routes
        .get(
            "/health/live",
            Public,
            health::live,
            doc("Whether the process answers").answers::<HealthView>(OK, "It does"),
        )
        .get(
            "/health/ready",
            Public,
            health::ready,
            doc("Whether the master takes work").answers::<ReadyView>(OK, "It does"),
        )
        .get(
            "/api/openapi.json",
            Public,
            docs::specification,
            doc("This specification").answers_as(
                OK,
                "application/json",
                utoipa::openapi::Object::new().into(),
                "OpenAPI 3.1",
            ),
        )
        .page("/api/docs", Public, docs::page)
        .page("/api/docs/{*file}", Public, docs::asset)
}

fn cluster_paths(routes: Routes) -> Routes {
    use ErrorCode::NotFound;
    use Right::{Administer, Look};
    routes
        .get(
            "/api/queue",
            Look,
            cluster::queue,
            doc("List what waits")
                .about("In the order of the queue. Users see their own rows, with their places among all.")
                .query("limit", whole(1, Some(1000)), "The most rows; 100 if left out")
                .answers::<QueueView>(OK, "The queue"),
        )
        .get(
            "/api/status",
            Look,
            cluster::status,
            doc("The cluster in numbers").answers::<StatusView>(OK, "The numbers"),
        )
        .get(
            "/api/internal-state",
            Administer,
            cluster::internal_state,
            doc("What the core knows")
                .about("For people who look into it. Of this answer, fields may change with every version.")
                .answers::<InternalStateView>(OK, "All of it"),
        )
        .get(
            "/api/audit",
            Administer,
            audit::list,
            doc("Who has done what")
                .about("The newest first; with `after` the oldest first, for whoever follows the chain of seals.")
                .query("limit", whole(1, Some(1000)), "The most of a page; 100 if left out")
                .query("cursor", whole(0, None), "`next_cursor` of the last page")
                .query("after", whole(0, None), "Those after this one, the oldest first; not with cursor")
                .query_of::<UserName>("user", "What this user did")
                .query_of::<WallTime>("since", "What was done at this time or later")
                .answers::<AuditListView>(OK, "A page"),
        )
        .post(
            "/api/fix-resources",
            Administer,
            cluster::fix_resources,
            doc("Compare what workers hold with what they should")
                .about("What does not fit is mended.")
                .answers::<RepairView>(OK, "What was found and mended"),
        )
        .post(
            "/api/shutdown",
            Administer,
            cluster::shutdown,
            doc("Stop the master")
                .about("What runs goes on at its worker, what waits stays queued.")
                .maybe_body::<ShutdownRequest>()
                .answers::<ShutdownView>(OK, "It stops, or will when nothing runs any more")
                .refused(&[NotFound]),
        )
}
