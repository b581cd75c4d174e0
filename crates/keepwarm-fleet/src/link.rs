//! The connection to the NATS server, and its errors in words. Owns the options of the connection.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectErrorKind, ConnectOptions};

use crate::args::ServerOptions;
use crate::exit::{Exit, Failure};
use crate::keys;

/// Time limit of connecting, and of each request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause between attempts to reach a server that is gone: one that is back is found soon.
const RETRY: Duration = Duration::from_millis(200);

/// Interval of questions for a sign of life; a server that misses two of them is gone.
const PING: Duration = Duration::from_secs(2);

/// Connection to the server, with the seed that signs plans.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
    pub(crate) seed: Option<String>,
    url: String,
}

impl Link {
    /// Connects, and makes sure that the server has JetStream.
    pub(crate) async fn open(options: &ServerOptions, name: &str) -> Result<Self, Failure> {
        let url = options.nats.clone();
        let seed = options.nkey.as_deref().map(keys::read_seed).transpose()?;
        for (name, path) in options.files() {
            // The library opens the files itself, but its errors do not name them: so each is tried here.
            std::fs::File::open(path).map_err(|error| {
                Failure::new(Exit::Usage, format!("{name} {}: {error}", path.display()))
            })?;
        }
        let mut connect = ConnectOptions::new()
            .name(name)
            .connection_timeout(PATIENCE)
            .request_timeout(Some(PATIENCE))
            .ping_interval(PING)
            .reconnect_delay_callback(|_| RETRY)
            .max_reconnects(None);
        if let Some(seed) = &seed {
            connect = connect.nkey(seed.clone());
        }
        if let Some(path) = &options.tls_ca {
            connect = connect.add_root_certificates(path.clone()).require_tls(true);
        }
        if let (Some(cert), Some(key)) = (&options.tls_cert, &options.tls_key) {
            connect = connect.add_client_certificate(cert.clone(), key.clone());
        }
        let connected = tokio::time::timeout(PATIENCE, connect.connect(&url)).await;
        let client = match connected {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(refused(&url, &error)),
            Err(_) => return Err(no_nats(&url, "it does not answer as a NATS server does")),
        };
        let jetstream = jetstream::new(client.clone());
        if let Err(why) = has_jetstream(&client).await {
            let message = format!(
                "{url}: the server has no JetStream for this user ({why}); start it with \
                 --jetstream, or allow it in the account"
            );
            return Err(Failure::new(Exit::Unreachable, message));
        }
        Ok(Self { client, jetstream, seed, url })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Returns the failure of a request to the server: `what` was not done because of `error`.
    pub(crate) fn failed(&self, what: &str, error: &impl std::fmt::Display) -> Failure {
        let way_out = if self.is_connected() {
            "does this key's role allow it?"
        } else {
            "the connection to it is lost"
        };
        Failure::new(Exit::Unreachable, format!("{}: {what}: {error}; {way_out}", self.url))
    }
}

/// Asks the server whether this user has JetStream. The client library has such a question too, but cannot
/// read a server 2.9's answer to it.
async fn has_jetstream(client: &Client) -> Result<(), String> {
    let answer = client.request("$JS.API.INFO", "".into()).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let answer: serde_json::Value =
        serde_json::from_slice(&answer.payload).map_err(|error| error.to_string())?;
    match answer.get("error") {
        Some(error) => Err(error["description"].as_str().unwrap_or("an error").to_owned()),
        None => Ok(()),
    }
}

fn refused(url: &str, error: &async_nats::ConnectError) -> Failure {
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            Failure::new(
                Exit::Denied,
                format!("{url}: the server does not let this key in ({error}); give --nkey"),
            )
        }
        ConnectErrorKind::Tls => no_tls(url, error),
        ConnectErrorKind::ServerParse => {
            Failure::new(Exit::Usage, format!("{url}: {error}; write nats://HOST:PORT"))
        }
        // A certificate that is not trusted comes from the library as an error of input and output.
        _ if error.to_string().contains("certificate") => no_tls(url, error),
        _ => no_nats(url, &error.to_string()),
    }
}

fn no_tls(url: &str, error: &async_nats::ConnectError) -> Failure {
    let way_out = "give the server's authority by --tls-ca, and your own certificate by --tls-cert";
    Failure::new(Exit::Unreachable, format!("{url}: no TLS with the server ({error}); {way_out}"))
}

fn no_nats(url: &str, why: &str) -> Failure {
    let way_out = "is a nats-server there? `keepwarm fleet run --local 4` starts one";
    Failure::new(Exit::Unreachable, format!("{url}: {why}; {way_out}"))
}
