//! The client: a handle on shared pools, one for each origin.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};

use crate::body::Body;
use crate::budget::IdleBudget;
use crate::builder::ClientBuilder;
use crate::clock::Clock;
use crate::deadline::Deadline;
use crate::dial::Runtime;
use crate::error::{Error, Result, Stage};
use crate::exchange::round_trip;
use crate::keeper::Keeper;
use crate::origin::Shared;
use crate::origins::Origins;
use crate::redirect::{self, Template};
use crate::request::RequestBuilder;
use crate::response::{ConnectionInfo, Response, ResponseBody};
use crate::settings::Settings;
use crate::stats::{OriginStats, Stats};

/// An HTTP/1.1 client with a pool of connections for each origin.
///
/// Make one and keep it: cloning is cheap, and clones share the pool. A client made for each
/// request has a pool for each request, so every request opens a connection and closes it again.
/// When the last clone is dropped, idle connections are closed, waiting requests fail, and
/// connections in use are closed as their exchanges end.
///
/// Use it inside a tokio runtime.
///
/// ```no_run
/// # async fn example() -> keepwarm::Result<()> {
/// let client = keepwarm::Client::new();
/// let response = client.get("http://127.0.0.1:8081/data").send().await?;
/// println!("{} on a connection that is {}", response.status(),
///     if response.connection().reused() { "reused" } else { "new" });
/// println!("{}", response.text().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    owner: Arc<Owner>,
}

/// Shuts the pools down when the last client that shares them is gone.
#[derive(Debug)]
struct Owner {
    origins: Arc<Origins>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.origins.shut_down();
        self.origins.shared().keeper.dismiss();
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client with the default settings, see [`ClientBuilder`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_settings(Settings::default())
    }

    /// Settings for a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    pub(crate) fn with_settings(settings: Settings) -> Self {
        let keeper = Arc::new(Keeper::new());
        let shared = Shared {
            budget: IdleBudget::new(settings.max_idle),
            settings,
            clock: Clock::start(),
            keeper: Arc::clone(&keeper),
            runtime: Runtime::default(),
        };
        let origins = Arc::new(Origins::new(Arc::new(shared)));
        keeper.serve(&origins);
        Self {
            owner: Arc::new(Owner { origins }),
        }
    }

    /// A GET request.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A HEAD request.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A POST request.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A request with any method but CONNECT. `url` is absolute: `http://host[:port]/path?query`.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url.as_ref())
    }

    /// What this client and its clones have done, by origin.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut origins: Vec<OriginStats> = self
            .owner
            .origins
            .all()
            .iter()
            .map(|origin| OriginStats::read(origin))
            .collect();
        origins.sort_by(|a, b| a.origin.cmp(&b.origin));
        Stats { origins }
    }

    /// One request, one response: no redirects. The timeout of the settings applies.
    pub(crate) async fn exchange(
        &self,
        request: http::Request<Body>,
    ) -> Result<(http::Response<ResponseBody>, ConnectionInfo)> {
        let deadline = Deadline::after(self.settings().timeout);
        round_trip(&self.owner.origins, request, deadline).await
    }

    /// A request with its redirects, under one deadline.
    pub(crate) async fn execute(
        &self,
        request: http::Request<Body>,
        timeout: Option<Duration>,
    ) -> Result<Response> {
        let limit = self.settings().max_redirects;
        let mut deadline = Deadline::after(timeout.or(self.settings().timeout));
        let mut template = (limit > 0).then(|| Template {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            body: request.body().try_clone(),
        });
        let mut request = request;
        for _ in 0..=limit {
            let (response, info) = round_trip(&self.owner.origins, request, deadline).await?;
            let Some(template) = &mut template else {
                return Ok(Response::new(response, info));
            };
            if !template.follow(response.status(), response.headers())? {
                return Ok(Response::new(response, info));
            }
            deadline = response.into_body().into_deadline();
            request = again(template)?;
        }
        Err(redirect::too_many(limit))
    }

    fn settings(&self) -> &Settings {
        &self.owner.origins.shared().settings
    }
}

fn again(template: &Template) -> Result<http::Request<Body>> {
    let mut request = http::Request::new(
        template
            .body
            .as_ref()
            .and_then(Body::try_clone)
            .unwrap_or_default(),
    );
    *request.method_mut() = template.method.clone();
    *request.uri_mut() = template.uri.clone();
    *request.headers_mut() = HeaderMap::clone(&template.headers);
    if request.uri().host().is_none() {
        return Err(Error::failed(Stage::Redirect, "the location has no host"));
    }
    Ok(request)
}
