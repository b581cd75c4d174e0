//! Bytes in and around responses, and which of them end their connection.

use keepwarm_testkit::scripted::ok;

use crate::ensure::{Kept, within};
use crate::reuse::{Scene, read, settle};
use crate::subject::{Ask, Subject};

pub(crate) async fn bytes_behind_a_response_end_its_connection<S: Subject>() -> Kept {
    let answer = format!("{}{}", ok("first"), ok("stray"));
    let (mut scene, reply) = Scene::answered(S::new(), Ask::get, answer).await?;
    read(reply, "first").await?;
    scene.next_comes_on_another_connection().await
}

pub(crate) async fn bytes_between_responses_end_their_connection<S: Subject>() -> Kept {
    let mut scene = Scene::idle(S::new()).await?;
    scene.peer.write(ok("stray")).await;
    within("the close", scene.peer.ended()).await?;
    scene.next_comes_on_another_connection().await
}

pub(crate) async fn a_server_that_says_close_is_left<S: Subject>() -> Kept {
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfirst";
    last::<S>(Ask::get, answer).await
}

pub(crate) async fn a_request_that_says_close_is_the_last<S: Subject>() -> Kept {
    last::<S>(|url| Ask::get(url).field("connection", "close"), &ok("first")).await
}

pub(crate) async fn http_1_0_without_keep_alive_is_left<S: Subject>() -> Kept {
    last::<S>(Ask::get, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nfirst").await
}

/// Somebody on the way may have read the other end of it (RFC 9112, 6.3).
pub(crate) async fn a_length_beside_chunks_ends_its_connection<S: Subject>() -> Kept {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n";
    last::<S>(Ask::get, &format!("{head}5\r\nfirst\r\n0\r\n\r\n")).await
}

/// The client closes, though the server does not.
async fn last<S: Subject>(ask: fn(String) -> Ask, answer: &str) -> Kept {
    let (mut scene, reply) = Scene::answered(S::new(), ask, answer).await?;
    read(reply, "first").await?;
    within("the close", scene.peer.ended()).await?;
    scene.next_comes_on_another_connection().await
}

pub(crate) async fn interim_responses_are_passed_over<S: Subject>() -> Kept {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let answer = format!("{interim}{interim}{}", ok("first"));
    let (mut scene, reply) = Scene::answered(S::new(), Ask::get, answer).await?;
    ensure!(reply.status == 200, "status {}", reply.status);
    read(reply, "first").await?;
    settle().await;
    scene.next_comes_on_the_same_connection().await
}

pub(crate) async fn a_truncated_body_is_an_error<S: Subject>() -> Kept {
    truncated::<S>("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst").await
}

pub(crate) async fn a_truncated_chunked_body_is_an_error<S: Subject>() -> Kept {
    truncated::<S>("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await
}

async fn truncated<S: Subject>(answer: &str) -> Kept {
    let (mut scene, reply) = Scene::answered(S::new(), Ask::get, answer).await?;
    let peer = std::mem::replace(&mut scene.peer, another(&scene.client).await?);
    peer.close();
    let read = within("the end", reply.text()).await?;
    ensure!(read.is_err(), "the body ended as {read:?}");
    scene.next_comes_on_another_connection().await
}

/// A connection of the same client to some other server, to stand in for one that is given away.
async fn another<S: Subject>(client: &S) -> Result<keepwarm_testkit::scripted::Peer, String> {
    Ok(Scene::idle(client.clone()).await?.peer)
}

pub(crate) async fn two_lengths_are_refused<S: Subject>() -> Kept {
    let client = S::new();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nfirst";
    let refused = Scene::answered(client.clone(), Ask::get, answer).await;
    ensure!(refused.is_err(), "a response came");
    Scene::idle(client).await?.next_comes_on_the_same_connection().await
}
