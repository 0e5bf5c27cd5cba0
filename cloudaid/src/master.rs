//! The control plane: assembles store, core, driver and the two APIs, and runs until it is told to stop.
//!
//! The start is the recovery: there is no other path, so it is the tested one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::Cluster;
use cloudaid_core::admission::JoinTokenRecord;
use cloudaid_core::effect::Effect;
use cloudaid_core::files::{InputRecord, Leftover};
use cloudaid_core::guesses::Guesses;
use cloudaid_core::scheduler::round_robin::RoundRobin;
use cloudaid_core::settings::Settings;
use futures_util::{TryStreamExt, stream};
use shared::id::{AttemptKey, ClusterId, UserName, WorkerId};
use shared::tls::Fingerprint;
use shared::view::LoginView;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::address::dialled;
use crate::clock;
use crate::config::MasterConfig;
use crate::grpc::{self, GrpcError, GrpcState};
use crate::http::{self, ApiState};
use crate::store::{Store, StoreError};
use crate::tls::authority::Authority;
use crate::tls::server::{ServerTls, TlsError};

pub mod accounts;
pub mod admissions;
pub mod auth;
pub mod call;
pub mod events;
pub mod files;
pub mod handle;
pub mod inputs;
pub mod join_token;
pub mod live;
mod log_retention;
pub mod logs;

pub use error::MasterError;
pub use open_store::FALLBACK;
pub use registries::Seal;

pub(crate) mod links;
pub(crate) mod narrate;

mod belonging;
mod drain;
mod driver;
mod error;
mod execute;
mod file_turns;
mod heard;
mod open_store;
pub mod registries;
mod repairs;
mod reply;
mod retention;
mod sweep;
mod task_logs;
mod view;

use auth::{Auth, AuthConfig, SetupToken};
use driver::{Driver, DriverError};
use events::Events;
use execute::Shell;
use files::{FileStore, Place};
use handle::ClusterHandle;
use inputs::Inputs;
use join_token::JoinToken;
use links::dialed::{Dialed, OwnAddress};
use live::{LiveRun, LiveRuns};
use logs::LogStore;

/// Messages that may wait for the driver. Each may carry many inputs; who sends more has to wait.
const MAILBOX: usize = 1024;
/// How long open requests may take to end when the master stops.
pub const STOP_GRACE: Duration = Duration::from_secs(10);
/// Runs and inputs that are looked at together at the start: where files are far away, each takes its time.
const TIDY_AT_ONCE: usize = 32;
/// The account that `dev` makes.
const DEV_ADMIN: &str = "admin";

/// What a master that is ready tells whoever started it.
#[derive(Debug)]
pub struct Started {
    /// Where the HTTP API listens.
    pub http: SocketAddr,
    /// Where workers connect.
    pub grpc: SocketAddr,
    /// Lets the worker of this process join, where the configuration asks for that.
    pub join_token: Option<JoinToken>,
    /// By which the HTTP API is known over TLS; none: it speaks plaintext.
    pub fingerprint: Option<Fingerprint>,
    /// The file with the one-time token that makes the first account, while there is none.
    pub setup_token_file: Option<PathBuf>,
    /// A login, where the configuration asks for one.
    pub admin: Option<LoginView>,
}

/// Runs a master on the store that is configured. `started` is told when it is ready; it returns when `shutdown` is cancelled and
/// everything is put away.
///
/// # Errors
/// It cannot start, or has to stop.
pub async fn run(
    config: MasterConfig,
    started: oneshot::Sender<Started>,
    shutdown: CancellationToken,
) -> Result<(), MasterError> {
    let opened = open_store::open_store(&config).await?;
    run_with(opened.store, config, started, shutdown).await
}

/// Runs a master on a store that is open already.
///
/// # Errors
/// See [`run`].
pub async fn run_with(
    store: Arc<dyn Store>,
    config: MasterConfig,
    started: oneshot::Sender<Started>,
    shutdown: CancellationToken,
) -> Result<(), MasterError> {
    // Both addresses are taken before anything is announced.
    let http_listener = listen(config.http, "HTTP").await?;
    let grpc_listener = listen(config.grpc, "gRPC").await?;
    let http_address = http_listener.local_addr().unwrap_or(config.http);
    let grpc_address = grpc_listener.local_addr().unwrap_or(config.grpc);

    let logs = LogStore::open_keeping(&config.data_dir.join("logs"), config.task_logs.keep)
        .map_err(|source| io(&config.data_dir, source))?;
    let files = open_files(&config).await?;
    let (gone, going) = mpsc::unbounded_channel();
    let recovered = recover(&config, store, logs.clone(), gone).await?;
    if !recovered.store.stands_in() {
        tidy(&recovered, &files).await.map_err(|source| io(&config.data_dir.join("files"), source))?;
    }
    let tls = open_tls(&config, &recovered).await?;
    let (cluster, driver, guesses) = recovered.into_parts(shutdown.clone());
    let driver = tokio::spawn(driver.run(shutdown.clone()));
    let auth = open_auth(&config, &cluster, guesses)?;
    let seal = Seal::open(&config.data_dir.join(registries::KEY_FILE)).map_err(MasterError::Secret)?;

    let api = Arc::new(ApiState {
        cluster: cluster.clone(),
        auth: auth.clone(),
        logs,
        inputs: Inputs::new(cluster.clone(), files.clone()),
        seal,
        files,
        tls: tls.clone(),
        grpc: grpc_address,
        site: config.site.clone(),
        access_log: config.access_log,
        load: Default::default(),
        telemetry: http::Hub::start(cluster.clone(), shutdown.clone()),
        specification: Default::default(),
        shutdown: shutdown.clone(),
    });
    keep_in_order(&api, &config, going);
    let state = for_workers(&api, &config);
    info!("Starting gRPC server on :{}...", grpc_address.port());
    let grpc = tokio::spawn(grpc::serve(grpc_listener, state, shutdown.clone()));
    let admin = if config.bootstrap_admin { Some(bootstrap_admin(&auth, &cluster).await?) } else { None };
    let join_token = match &config.bootstrap_worker {
        Some(worker) => Some(bootstrap_worker(worker, &tls, &cluster).await?),
        None => None,
    };
    let setup_token = auth.ensure_setup_token().map_err(MasterError::Account)?;
    let http_tls = if config.tls.http { Some(tls.for_people()?) } else { None };
    let http = tokio::spawn(http::serve(http_listener, http_tls, http::router(api), shutdown.clone()));
    announce(http_address, grpc_address, config.tls.http, setup_token.as_ref());
    let setup_token_file = setup_token.map(|token| token.file);
    let _nobody_waits = started.send(Started {
        http: http_address,
        grpc: grpc_address,
        fingerprint: config.tls.http.then(|| tls.fingerprint()),
        join_token,
        setup_token_file,
        admin,
    });
    wait(cluster, driver, grpc, http, shutdown).await
}

/// Who people are, and what they prove it with.
fn open_auth(config: &MasterConfig, cluster: &ClusterHandle, guesses: Guesses) -> Result<Auth, MasterError> {
    let auth_config = AuthConfig {
        jwt_secret: config.jwt_secret.as_ref(),
        previous_jwt_secret: config.previous_jwt_secret.as_ref(),
        ttl: config.token_ttl,
        registration: config.registration,
        least_password_chars: config.least_password_chars,
        data_dir: &config.data_dir,
    };
    Ok(Auth::new(&auth_config, cluster.clone(), guesses)?)
}

/// Begins what is done without being asked for, until the master stops.
fn keep_in_order(api: &ApiState, config: &MasterConfig, going: mpsc::UnboundedReceiver<Leftover>) {
    let ApiState { cluster, logs, files, inputs, tls, shutdown, .. } = api;
    tokio::spawn(retention::run(cluster.clone(), inputs.clone(), config.files.clone(), shutdown.clone()));
    tokio::spawn(log_retention::run(cluster.clone(), logs.clone(), config.task_logs, shutdown.clone()));
    tokio::spawn(tls.clone().keep_fresh(shutdown.clone()));
    tokio::spawn(sweep::run(going, cluster.clone(), logs.clone(), files.clone(), shutdown.clone()));
}

/// What the services for workers work with. Those of the first generation are dialled from now on, where they are served.
fn for_workers(api: &Arc<ApiState>, config: &MasterConfig) -> GrpcState {
    let ApiState { cluster, logs, files, tls, grpc, shutdown, .. } = &**api;
    let dialed = config.allow_plaintext_workers.then(|| {
        let own = OwnAddress { cluster: tls.authority().cluster(), listens: *grpc };
        Dialed::start(cluster.clone(), logs.clone(), files.clone(), own, config.leases.suspect, shutdown.clone())
    });
    GrpcState {
        cluster: cluster.clone(),
        logs: logs.clone(),
        files: files.clone(),
        tls: tls.clone(),
        api: Arc::clone(api),
        dialed,
        open_admission: config.open_admission,
        bulk: Arc::default(),
        uploads: Arc::default(),
        refusals: grpc::audit::refusals(),
        announcements: grpc::audit::announcements(),
    }
}

/// Says where it is, and how the first account is made if there is none.
fn announce(http: SocketAddr, grpc: SocketAddr, is_tls: bool, setup_token: Option<&SetupToken>) {
    info!("✓ Master node started successfully");
    info!("✓ gRPC server listening on :{} ({grpc})", grpc.port());
    let scheme = if is_tls { "https" } else { "http" };
    info!("✓ HTTP API listening on :{} ({scheme}://{http})", http.port());
    let here = dialled(http);
    if let Some(SetupToken { file, token }) = setup_token {
        info!("No account yet. The setup token, which makes the first one, once: {token}");
        info!(
            "It is also in a file: cloudctl login --server {scheme}://{here} --username admin \
             --setup-token-file {}",
            file.display()
        );
    }
}

/// Until the end: whichever part stops first stops all.
async fn wait(
    cluster: ClusterHandle,
    mut driver: tokio::task::JoinHandle<Result<(), DriverError>>,
    grpc: tokio::task::JoinHandle<Result<(), GrpcError>>,
    http: tokio::task::JoinHandle<()>,
    shutdown: CancellationToken,
) -> Result<(), MasterError> {
    let failed = tokio::select! {
        () = shutdown.cancelled() => None,
        ended = &mut driver => Some(ended),
    };
    shutdown.cancel();
    cluster.shell().links.close_all("the master is stopping");
    drop(cluster);
    if let Some(ended) = failed {
        return match ended {
            Ok(result) => result.map_err(Into::into),
            Err(panicked) => {
                warn!("The driver ended unexpectedly: {panicked}");
                Err(MasterError::Store(StoreError::Closed))
            }
        };
    }
    let (http, grpc) = tokio::join!(end(http), end(grpc));
    for (part, ended) in [("HTTP", http), ("gRPC", grpc)] {
        if !ended {
            warn!("{part} requests were still open after {} s and are cut off", STOP_GRACE.as_secs());
        }
    }
    match driver.await {
        Ok(result) => result?,
        Err(panicked) => warn!("The driver ended unexpectedly: {panicked}"),
    }
    info!("Master node stopped");
    Ok(())
}

/// Whether a part has ended within the grace.
async fn end<T>(part: tokio::task::JoinHandle<T>) -> bool {
    let abort = part.abort_handle();
    let ended = tokio::time::timeout(STOP_GRACE, part).await.is_ok();
    abort.abort();
    ended
}

/// A core that has been recovered, before anybody can reach it.
struct Recovered {
    cluster: Cluster,
    store: Arc<dyn Store>,
    position: crate::store::Position,
    shell: Arc<Shell>,
    guesses: Guesses,
}

/// Opens the place where files are kept.
async fn open_files(config: &MasterConfig) -> Result<FileStore, MasterError> {
    let directory = config.data_dir.join("files");
    match &config.files.s3 {
        None => {
            let path = directory.clone();
            let opened = tokio::task::spawn_blocking(move || FileStore::open(&path)).await;
            opened.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|source| io(&directory, source))
        }
        Some(s3) => {
            let store = FileStore::connect(s3, &config.data_dir).await;
            let store = store.map_err(|source| MasterError::Bucket { bucket: s3.bucket.clone(), source })?;
            info!("✓ Files are kept in the bucket {}", s3.bucket);
            Ok(store)
        }
    }
}

/// Removes what uploads have left that a crash cut off. Nobody can upload yet.
async fn tidy(recovered: &Recovered, files: &FileStore) -> std::io::Result<()> {
    let Recovered { cluster, store, .. } = recovered;
    let unreadable = std::io::Error::other::<StoreError>;
    let of_run = async |(key, _): (AttemptKey, &WorkerId)| {
        let element = key.element();
        let known = store.list_run_blobs(element, key.attempt).await.map_err(unreadable)?;
        files.tidy(Place::Run(element, key.attempt), &known).await
    };
    let runs = stream::iter(cluster.live_runs().map(Ok::<_, std::io::Error>));
    runs.try_for_each_concurrent(TIDY_AT_ONCE, of_run).await?;
    let of_input = async |input: &InputRecord| {
        let known = store.list_input_files(input.id).await.map_err(unreadable)?;
        files.tidy(Place::Input(input.id), &known.iter().map(|file| file.blob).collect()).await
    };
    let inputs = cluster.inputs().filter(|input| input.missing > 0);
    stream::iter(inputs.map(Ok)).try_for_each_concurrent(TIDY_AT_ONCE, of_input).await?;
    files.tidy_inputs(|id| cluster.input(id).is_some()).await
}

/// Loads what the store holds, begins a new epoch, and makes that durable before anything else.
async fn recover(
    config: &MasterConfig,
    store: Arc<dyn Store>,
    logs: LogStore,
    gone: mpsc::UnboundedSender<Leftover>,
) -> Result<Recovered, MasterError> {
    let (mut snapshot, position) = store.load().await?;
    if snapshot.is_unfinished_copy() {
        return Err(MasterError::UnfinishedCopy);
    }
    let guesses = Guesses::new(snapshot.guesses.drain(..));
    for leftover in snapshot.unswept.drain(..) {
        // The other end is still held by whoever calls.
        let _ = gone.send(leftover);
    }
    let settings = Settings {
        heartbeat: config.leases.heartbeat,
        suspect: config.leases.suspect,
        lease: config.leases.lease,
        reassign: config.leases.reassign,
        start_grace: config.leases.start_grace,
        mass_loss_hold: config.leases.mass_loss_hold,
        infrastructure_attempts: config.infrastructure_attempts,
        profile: config.task_profile,
        strict_users: config.strict_users.clone(),
        strict_pools: config.strict_pools.clone(),
        strict_network: config.strict_network,
        images: config.images.clone(),
        file_quota: config.files.quota,
        keep_unknown: store.stands_in(),
        ..Settings::default()
    };
    let fresh = ClusterId(ulid::Ulid::generate());
    let policy = Box::new(RoundRobin::default());
    let (cluster, effects) = Cluster::recover(settings, policy, snapshot, fresh, clock::now())?;
    let changes: Vec<_> = effects
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Save(change) => Some(change),
            Effect::Send(..) | Effect::Close(..) | Effect::Reply(..) | Effect::Publish(_) => None,
        })
        .collect();
    let position = store.commit(changes, position).await?;
    if config.store.mongodb.is_some() && !store.stands_in() {
        belonging::note(&config.data_dir, cluster.identity().cluster).await?;
    }
    let owners = cluster.open_tasks().map(|(task, user)| (task, user.clone()));
    let events = Events::new(cluster.epoch(), owners);
    let shell = Shell::new(logs, events, LiveRuns::new(store.stands_in()), gone, config.print_task_logs);
    for (key, worker) in cluster.live_runs() {
        shell.live.insert(LiveRun { key, shown: cluster.shown(key), worker: worker.clone() });
    }
    for user in cluster.users() {
        shell.accounts.insert(user.clone());
    }
    for token in cluster.tokens() {
        shell.accounts.set_token(token.id, Some(token.clone()));
    }
    for login in cluster.logins() {
        shell.accounts.set_login(login.id, Some(login.clone()));
    }
    for (worker, admission) in cluster.admissions() {
        shell.admissions.set(worker, Some(admission.clone()));
    }
    let identity = cluster.identity();
    info!("Cluster {} at start {}: {} attempts live", identity.cluster, identity.epoch.0, cluster.live_attempts());
    Ok(Recovered { cluster, store, position, shell: Arc::new(shell), guesses })
}

impl Recovered {
    fn into_parts(self, shutdown: CancellationToken) -> (ClusterHandle, Driver, Guesses) {
        let Self { cluster, store, position, shell, guesses } = self;
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let handle = ClusterHandle::new(sender, Arc::clone(&shell), Arc::clone(&store), shutdown);
        (handle, Driver { cluster, store, position, shell, mailbox }, guesses)
    }
}

/// The account of `dev`, with a password that nobody knows, and a token for it.
async fn bootstrap_admin(auth: &Auth, cluster: &ClusterHandle) -> Result<LoginView, MasterError> {
    let username: UserName = DEV_ADMIN.parse().map_err(|_| MasterError::Store(StoreError::Closed))?;
    if cluster.accounts().is_empty() {
        auth.create_unguessable(&username).await.map_err(MasterError::Account)?;
    }
    auth.login_local(&username).await.map_err(MasterError::Account)
}

/// A token for the worker of this process, if it has not joined yet: it is used at once, or never.
async fn bootstrap_worker(
    worker: &WorkerId,
    tls: &ServerTls,
    cluster: &ClusterHandle,
) -> Result<JoinToken, MasterError> {
    let created_by: UserName = DEV_ADMIN.parse().map_err(|_| MasterError::Store(StoreError::Closed))?;
    let made = join_token::make(tls.authority().fingerprint(), created_by, |record| JoinTokenRecord {
        name: Some(worker.clone()),
        ..record
    });
    cluster.create_join_token(made.record).await.map_err(MasterError::Account)?;
    Ok(made.token)
}

/// The authority of this cluster, and what it shows.
async fn open_tls(config: &MasterConfig, recovered: &Recovered) -> Result<ServerTls, MasterError> {
    let (data_dir, own) = (config.data_dir.clone(), config.tls.own.clone());
    let cluster = recovered.cluster.identity().cluster;
    let (names, ttl) = (config.tls.names.clone(), config.worker_certificate_ttl);
    let opened = tokio::task::spawn_blocking(move || {
        let authority = Authority::open(&data_dir, cluster, &names, ttl).map_err(TlsError::from)?;
        ServerTls::new(authority, own)
    });
    let opened = opened.await.unwrap_or_else(|error| Err(rustls::Error::General(error.to_string()).into()));
    let tls = opened?;
    info!("✓ Certificate authority ready. Certificate fingerprint: {}", tls.fingerprint());
    Ok(tls)
}

async fn listen(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, MasterError> {
    TcpListener::bind(address).await.map_err(|source| MasterError::Listen { address, purpose, source })
}

fn io(path: &Path, source: std::io::Error) -> MasterError {
    MasterError::Io { path: path.display().to_string(), source }
}
