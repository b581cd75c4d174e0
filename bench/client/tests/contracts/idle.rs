//! The fate of an idle connection.

use std::time::Duration;

use keepwarm_testkit::scripted::Stage;

use crate::ensure::{Kept, done, within};
use crate::reuse::{Scene, settle};
use crate::subject::{Ask, Settings, Subject};

pub(crate) async fn a_fin_while_idle_is_noticed<S: Subject>() -> Kept {
    noticed::<S>(false).await
}

pub(crate) async fn a_reset_while_idle_is_noticed<S: Subject>() -> Kept {
    noticed::<S>(true).await
}

/// A POST, which nobody may send twice, does not fail of it.
async fn noticed<S: Subject>(reset: bool) -> Kept {
    let Scene { client, stage, peer } = Scene::idle(S::new()).await?;
    if reset {
        peer.reset();
    } else {
        peer.close();
    }
    settle().await;
    let next = client.start(Ask::post(stage.url("/next"), "once"));
    within("a connection", stage.accept()).await?.serve("next").await;
    done("the response", next).await?;
    Ok(())
}

pub(crate) async fn an_idle_connection_is_closed_at_the_idle_timeout<S: Subject>() -> Kept {
    let timeout = Some(Duration::from_millis(300));
    let client = S::with(Settings { idle_timeout: timeout, ..Settings::default() });
    let mut scene = Scene::idle(client).await?;
    within("the close", scene.peer.ended()).await?;
    Ok(())
}

/// The thread is kept busy meanwhile, so that no timer of the client runs.
pub(crate) async fn a_connection_beyond_its_time_serves_nobody<S: Subject>() -> Kept {
    let timeout = Some(Duration::from_millis(300));
    let client = S::with(Settings { idle_timeout: timeout, ..Settings::default() });
    let mut scene = Scene::idle(client).await?;
    std::thread::sleep(Duration::from_millis(600));
    scene.next_comes_on_another_connection().await
}

pub(crate) async fn over_the_idle_limit_connections_are_closed<S: Subject>() -> Kept {
    let client = S::with(Settings { max_idle_per_origin: Some(2), ..Settings::default() });
    let stage = Stage::open().await;
    let requests: Vec<_> = (0..4).map(|_| client.fetch(stage.url("/"))).collect();
    let mut peers = Vec::new();
    for _ in 0..4 {
        let mut peer = within("a connection", stage.accept()).await?;
        peer.request().await;
        peers.push(peer);
    }
    for peer in &mut peers {
        peer.write(keepwarm_testkit::scripted::ok("")).await;
    }
    for request in requests {
        done("a response", request).await?;
    }
    let mut ends = tokio::task::JoinSet::new();
    for mut peer in peers {
        // The two that stay end when the client is dropped.
        ends.spawn(async move { peer.ended().await });
    }
    for _ in 0..2 {
        within("a close", ends.join_next()).await?;
    }
    settle().await;
    ensure!(ends.try_join_next().is_none(), "more than two were closed");
    drop(client);
    Ok(())
}

pub(crate) async fn a_dropped_client_closes_its_idle_connections<S: Subject>() -> Kept {
    let Scene { client, stage: _stage, mut peer } = Scene::idle(S::new()).await?;
    drop(client);
    within("the close", peer.ended()).await?;
    Ok(())
}
