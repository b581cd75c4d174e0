//! A request meets a close: whether it goes out again.

use keepwarm_testkit::scripted::ok;

use crate::ensure::{Kept, done, within};
use crate::reuse::{Scene, settle};
use crate::subject::{Ask, Subject};

pub(crate) async fn a_post_is_never_sent_twice<S: Subject>() -> Kept {
    not_sent_again::<S>(|url| Ask::post(url, "once"), "").await
}

pub(crate) async fn a_get_whose_response_began_is_not_sent_again<S: Subject>() -> Kept {
    not_sent_again::<S>(Ask::get, "HTTP/1.1 200 OK\r\n").await
}

pub(crate) async fn a_get_that_meets_a_close_is_sent_again<S: Subject>() -> Kept {
    sent_again::<S>(Ask::get).await
}

pub(crate) async fn a_post_with_an_idempotency_key_is_sent_again<S: Subject>() -> Kept {
    sent_again::<S>(|url| Ask::post(url, "twice").field("idempotency-key", "1")).await
}

async fn not_sent_again<S: Subject>(ask: fn(String) -> Ask, before: &str) -> Kept {
    let Scene { client, stage, mut peer } = Scene::idle(S::new()).await?;
    let sent = client.start(ask(stage.url("/once")));
    peer.request().await;
    peer.write(before).await;
    peer.close();
    let failed = done("the request", sent).await;
    ensure!(failed.is_err(), "a response came");
    settle().await;
    ensure!(!stage.has_another().await, "another connection was opened");
    Ok(())
}

async fn sent_again<S: Subject>(ask: fn(String) -> Ask) -> Kept {
    let Scene { client, stage, mut peer } = Scene::idle(S::new()).await?;
    let sent = client.start(ask(stage.url("/again")));
    peer.request().await;
    peer.close();
    let serving = tokio::spawn(async move {
        let mut other = stage.accept().await;
        other.request().await;
        other.write(ok("again")).await;
        other
    });
    done("the request", sent).await?;
    within("the server", serving).await?.map_err(|panic| panic.to_string())?;
    Ok(())
}

pub(crate) async fn a_get_that_fails_on_a_new_connection_is_not_sent_again<S: Subject>() -> Kept {
    let stage = keepwarm_testkit::scripted::Stage::open().await;
    let client = S::new();
    let sent = client.start(Ask::get(stage.url("/")));
    let mut peer = within("a connection", stage.accept()).await?;
    peer.request().await;
    peer.close();
    let failed = done("the request", sent).await;
    ensure!(failed.is_err(), "a response came");
    settle().await;
    ensure!(!stage.has_another().await, "another connection was opened");
    Ok(())
}
