//! From a URI to a server that answers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{ClientOptions, Credential, ReadConcern, SelectionCriteria, ServerAddress};

use super::fault;
use super::server::{Server, number};
use crate::config::{MongoAddress, MongoSettings, Secret};
use crate::store::StoreError;

/// How long a server is looked for, for each call: who waits for it shall hear soon.
const SELECTION: Duration = Duration::from_millis(400);
const CONNECT: Duration = Duration::from_secs(2);
/// How often servers are asked how they are: how soon a server that is back is used again.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The oldest server that the driver and the indexes are for.
const OLDEST: (i64, i64) = (4, 4);

/// Which database of which server.
#[derive(Clone)]
pub struct MongoConfig {
    options: ClientOptions,
    database: String,
    is_patient: bool,
}

impl fmt::Debug for MongoConfig {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoConfig").field("at", &self.place()).finish_non_exhaustive()
    }
}

impl MongoConfig {
    /// As configured.
    ///
    /// # Errors
    /// It is no such address. The message does not contain it.
    pub async fn new(settings: &MongoSettings) -> Result<Self, StoreError> {
        match &settings.address {
            MongoAddress::Uri(uri) => Self::from_uri(uri, &settings.database).await,
            MongoAddress::Parts { host, user } => {
                let user = user.as_ref().map(|(name, password)| (name.expose(), password));
                Self::from_parts(host, user, &settings.database)
            }
        }
    }

    /// From a URI. Its options for the pool, TLS and timeouts count; `database` is the one to use if it names none.
    ///
    /// # Errors
    /// It is no such URI. The message does not contain it.
    pub async fn from_uri(uri: &Secret, database: &str) -> Result<Self, StoreError> {
        let parsed = ClientOptions::parse(uri.expose()).await;
        // The driver's message may have a piece of the URI in it, and that may be the password.
        let options = parsed.map_err(|error| match &*error.kind {
            ErrorKind::DnsResolve { .. } => {
                StoreError::Unreachable("the name in MONGODB_URI cannot be looked up".to_owned())
            }
            _ => StoreError::Server(
                "it is no MongoDB URI, such as mongodb://USER:PASSWORD@HOST:27017/cloudai; special characters in the \
                 password are written as %XX"
                    .to_owned(),
            ),
        })?;
        let database = options.default_database.clone().unwrap_or_else(|| database.to_owned());
        Ok(Self { options, database, is_patient: false })
    }

    /// From a host (and port), and a user if there is one.
    ///
    /// # Errors
    /// It is no such address.
    pub fn from_parts(host: &str, user: Option<(&str, &Secret)>, database: &str) -> Result<Self, StoreError> {
        let address = ServerAddress::parse(host).map_err(|error| StoreError::Server(error.to_string()))?;
        let credential = user.map(|(name, password)| {
            Credential::builder().username(name.to_owned()).password(password.expose().to_owned()).build()
        });
        let mut options = ClientOptions::builder().hosts(vec![address]).build();
        options.credential = credential;
        Ok(Self { options, database: database.to_owned(), is_patient: false })
    }

    /// For who reads all that there is, and has nobody waiting.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { is_patient: true, ..self }
    }

    /// The same server with another database, for tests.
    #[must_use]
    pub fn with_database(mut self, database: &str) -> Self {
        database.clone_into(&mut self.database);
        self
    }

    /// Its name.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Hosts and database, for people.
    #[must_use]
    pub fn place(&self) -> String {
        let hosts: Vec<String> = self.options.hosts.iter().map(ToString::to_string).collect();
        format!("{}/{}", hosts.join(","), self.database)
    }
}

/// A server that answers.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) server: Server,
    /// Commands that were sent, but for pings.
    pub(super) trips: Arc<AtomicU64>,
}

/// Connects.
pub(super) async fn connect(config: &MongoConfig) -> Result<Connected, StoreError> {
    let trips = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&trips);
    let mut options = config.options.clone();
    options.app_name.get_or_insert_with(|| "cloudaid".to_owned());
    options.server_selection_timeout.get_or_insert(SELECTION);
    options.connect_timeout.get_or_insert(CONNECT);
    options.heartbeat_freq.get_or_insert(HEARTBEAT);
    // What a majority does not have may be taken back.
    options.read_concern.get_or_insert_with(ReadConcern::majority);
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary));
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        // Those who look how it is are not part of what a task costs.
        if matches!(&event, CommandEvent::Started(started) if started.command_name != "ping") {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let client = Client::with_options(options).map_err(|error| StoreError::Server(error.kind.to_string()))?;
    let database = client.database(&config.database);
    let asked = database.clone();
    let build = async move { asked.run_command(doc! { "buildInfo": 1 }).await };
    let build = fault::call_as(CONNECT, build, fault::classify_first).await?;
    check_version(&build)?;
    let server = Server::new(database, &build);
    Ok(Connected { server: if config.is_patient { server.patient() } else { server }, trips })
}

fn check_version(build: &Document) -> Result<(), StoreError> {
    let version = build.get_array("versionArray").map_or(&[][..], Vec::as_slice);
    let part = |index: usize| version.get(index).and_then(number).unwrap_or_default();
    if (part(0), part(1)) < OLDEST {
        let found = build.get_str("version").unwrap_or("of an unknown version");
        return Err(StoreError::Server(format!("the server is {found}, and 4.4 or newer is needed: update it")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_shows_user_or_password() {
        let uri = Secret::new("mongodb://ada:hunter2@db.example:27018/lab?tls=true");
        let config = MongoConfig::from_uri(&uri, "cloudai").await.expect("a URI");
        assert_eq!((config.database(), config.place()), ("lab", "db.example:27018/lab".to_owned()));
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("ada"), "{shown}");
        for wrong in ["mongodb://ada:hunter2@", "http://ada:hunter2@x", "mongodb://ada:hun/ter2@x", "hunter2"] {
            let refused = MongoConfig::from_uri(&Secret::new(wrong), "x").await.expect_err(wrong).to_string();
            assert!(!refused.contains("hunter2") && !refused.contains("ter2"), "{refused}");
        }
    }

    #[test]
    fn old_servers_are_refused() {
        for (version, good) in [([4, 2, 9], false), ([3, 6, 0], false), ([4, 4, 0], true), ([7, 0, 42], true)] {
            let build = doc! { "version": "x", "versionArray": version.to_vec() };
            assert_eq!(check_version(&build).is_ok(), good, "{version:?}");
        }
        assert!(check_version(&doc! {}).is_err());
    }
}
