//! When the connection of a response can serve again.

use keepwarm_testkit::scripted::{Peer, Stage, ok};

use crate::ensure::{Kept, done, within};
use crate::subject::{Ask, Reply, Subject};

/// A client, a server, and a connection between them that has answered one request with this.
pub(crate) struct Scene<S> {
    pub(crate) client: S,
    pub(crate) stage: Stage,
    pub(crate) peer: Peer,
}

impl<S: Subject> Scene<S> {
    /// Sends `ask` and answers it with `answer`.
    pub(crate) async fn answered(
        client: S,
        ask: impl FnOnce(String) -> Ask,
        answer: impl AsRef<[u8]>,
    ) -> Result<(Self, Reply), String> {
        let stage = Stage::open().await;
        let sent = client.start(ask(stage.url("/first")));
        let mut peer = within("a connection", stage.accept()).await?;
        peer.request().await;
        peer.write(answer).await;
        let reply = done("the first response", sent).await?;
        Ok((Self { client, stage, peer }, reply))
    }

    /// A connection that has served and is idle.
    pub(crate) async fn idle(client: S) -> Result<Self, String> {
        let (scene, reply) = Self::answered(client, Ask::get, ok("first")).await?;
        read(reply, "first").await?;
        settle().await;
        Ok(scene)
    }

    /// The next request comes on the same connection, and no other one is opened for it.
    pub(crate) async fn next_comes_on_the_same_connection(&mut self) -> Kept {
        let next = self.client.fetch(self.stage.url("/next"));
        tokio::select! {
            biased;
            request = self.peer.request_or_end() => {
                ensure!(request.is_some(), "the connection was closed");
                self.peer.write(ok("next")).await;
            }
            _ = self.stage.accept() => return Err("another connection was opened".into()),
        }
        let text = done("the next response", next).await?;
        ensure!(text == "next", "the next body is {text:?}");
        Ok(())
    }

    /// The next request comes on another connection, and its response is its own.
    pub(crate) async fn next_comes_on_another_connection(&mut self) -> Kept {
        let next = self.client.fetch(self.stage.url("/next"));
        let mut other = tokio::select! {
            other = self.stage.accept() => other,
            Some(_) = self.peer.request_or_end() => return Err("it came on the old one".into()),
        };
        other.serve("next").await;
        let text = done("the next response", next).await?;
        ensure!(text == "next", "the next body is {text:?}");
        Ok(())
    }
}

/// Reads a body that must be this one.
pub(crate) async fn read(reply: Reply, body: &str) -> Kept {
    let text = within("the body", reply.text()).await?.map_err(|error| error.to_string())?;
    ensure!(text == body, "{text:?}, not {body:?}");
    Ok(())
}

/// For a client that has tasks of its own: lets them come to rest. There is nothing outside of the
/// client that tells.
pub(crate) async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}

pub(crate) async fn a_body_read_to_its_last_frame_has_returned_its_connection<S: Subject>() -> Kept
{
    let (mut scene, mut reply) = Scene::answered(S::new(), Ask::get, ok("first")).await?;
    let frame = within("the frame", reply.frame()).await?.map_err(|error| error.to_string())?;
    ensure!(frame.as_deref() == Some(b"first"), "{frame:?}");
    scene.next_comes_on_the_same_connection().await?;
    drop(reply);
    Ok(())
}

pub(crate) async fn a_chunked_body_read_to_its_end_has_returned_its_connection<S: Subject>() -> Kept
{
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = format!("{CHUNKED}3\r\nfir\r\n2\r\nst\r\n0\r\n\r\n");
    let (mut scene, reply) = Scene::answered(S::new(), Ask::get, answer).await?;
    read(reply, "first").await?;
    scene.next_comes_on_the_same_connection().await
}

pub(crate) async fn the_answer_to_a_head_has_returned_its_connection<S: Subject>() -> Kept {
    bodiless::<S>(Ask::head, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await
}

pub(crate) async fn a_204_has_returned_its_connection<S: Subject>() -> Kept {
    bodiless::<S>(Ask::get, "HTTP/1.1 204 No Content\r\n\r\n").await
}

pub(crate) async fn a_304_has_returned_its_connection<S: Subject>() -> Kept {
    bodiless::<S>(Ask::get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n").await
}

pub(crate) async fn an_empty_body_has_returned_its_connection<S: Subject>() -> Kept {
    bodiless::<S>(Ask::get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await
}

/// The caller keeps the response and reads nothing.
async fn bodiless<S: Subject>(ask: fn(String) -> Ask, answer: &str) -> Kept {
    let (mut scene, reply) = Scene::answered(S::new(), ask, answer).await?;
    scene.next_comes_on_the_same_connection().await?;
    drop(reply);
    Ok(())
}

pub(crate) async fn a_small_body_dropped_after_it_came_leaves_its_connection<S: Subject>() -> Kept {
    let (mut scene, reply) = Scene::answered(S::new(), Ask::get, ok("small")).await?;
    drop(reply);
    scene.next_comes_on_the_same_connection().await
}

pub(crate) async fn a_small_body_dropped_before_it_came_leaves_its_connection<S: Subject>() -> Kept
{
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let (mut scene, reply) = Scene::answered(S::new(), Ask::get, head).await?;
    drop(reply);
    scene.peer.write("small").await;
    settle().await;
    scene.next_comes_on_the_same_connection().await
}

pub(crate) async fn a_large_body_dropped_early_is_not_waited_for<S: Subject>() -> Kept {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\nbegun";
    let (mut scene, reply) = Scene::answered(S::new(), Ask::get, head).await?;
    drop(reply);
    within("the close", scene.peer.ended()).await?;
    scene.next_comes_on_another_connection().await
}

pub(crate) async fn a_held_body_allows_a_second_connection<S: Subject>() -> Kept {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let (mut scene, reply) = Scene::answered(S::new(), Ask::get, head).await?;
    scene.next_comes_on_another_connection().await?;
    scene.peer.write("first").await;
    read(reply, "first").await
}

pub(crate) async fn the_newest_idle_connection_is_used_first<S: Subject>() -> Kept {
    let (mut scene, reply) =
        Scene::answered(S::new(), Ask::get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await?;
    scene.next_comes_on_another_connection().await?;
    settle().await;
    scene.peer.write("first").await;
    read(reply, "first").await?;
    settle().await;
    scene.next_comes_on_the_same_connection().await
}

pub(crate) async fn an_idle_connection_serves_no_other_origin<S: Subject>() -> Kept {
    let scene = Scene::idle(S::new()).await?;
    let other = Stage::open().await;
    let next = scene.client.fetch(other.url("/"));
    within("a connection to the other one", other.accept()).await?.serve("other").await;
    let text = done("the response", next).await?;
    ensure!(text == "other", "{text:?}");
    Ok(())
}
