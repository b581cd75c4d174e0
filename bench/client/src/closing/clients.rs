//! The clients that are asked, with their default settings.

use std::future::Future;

use crate::clients::Failure;

/// A client with one pool, which its clones share.
pub(crate) trait Asker: Clone + Send + Sync + 'static {
    /// A GET, or a POST with a short body, and the text of the response. Anything but a whole 200 is
    /// an error.
    fn ask(&self, post: bool, url: &str) -> impl Future<Output = Result<String, Failure>> + Send;
}

/// The body of every POST.
const BODY: &str = "once";

#[derive(Clone)]
pub(crate) struct Keepwarm(keepwarm::Client);

impl Keepwarm {
    pub(crate) fn new() -> Self {
        Self(keepwarm::Client::new())
    }
}

impl Asker for Keepwarm {
    async fn ask(&self, post: bool, url: &str) -> Result<String, Failure> {
        let request = if post { self.0.post(url).body(BODY) } else { self.0.get(url) };
        let response = request.send().await?;
        crate::clients::check(response.status().as_u16())?;
        Ok(response.text().await?)
    }
}

#[derive(Clone)]
pub(crate) struct Reqwest(reqwest::Client);

impl Reqwest {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self(crate::clients::reqwest_client(None)?))
    }
}

impl Asker for Reqwest {
    async fn ask(&self, post: bool, url: &str) -> Result<String, Failure> {
        let request = if post { self.0.post(url).body(BODY) } else { self.0.get(url) };
        let response = request.send().await?;
        crate::clients::check(response.status().as_u16())?;
        Ok(response.text().await?)
    }
}
