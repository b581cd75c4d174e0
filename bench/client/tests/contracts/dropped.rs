//! Requests that are given up.

use std::task::{Context, Waker};

use keepwarm_testkit::scripted::{Stage, ok};

use crate::ensure::{Kept, done, within};
use crate::reuse::{Scene, settle};
use crate::subject::{Ask, Subject};

pub(crate) async fn a_dial_whose_request_was_dropped_serves_the_next_one<S: Subject>() -> Kept {
    let (stage, client) = (Stage::open().await, S::new());
    let mut dropped = Box::pin(client.send(Ask::get(stage.url("/dropped"))));
    ensure!(
        dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(),
        "a response before its request"
    );
    drop(dropped);
    let mut peer = within("the dial", stage.accept()).await?;
    settle().await;
    let next = client.fetch(stage.url("/next"));
    tokio::select! {
        biased;
        request = peer.request_or_end() => {
            ensure!(request.is_some(), "the connection was closed unused");
            peer.write(ok("next")).await;
        }
        _ = stage.accept() => return Err("another connection was opened".into()),
    }
    done("the next response", next).await?;
    Ok(())
}

/// The accept queue is full, so that a dial takes as long as the test wants.
pub(crate) async fn a_dial_that_lost_to_a_return_is_kept<S: Subject>() -> Kept {
    let (stage, client) = (Stage::open_narrow(), S::new());
    let first = client.fetch(stage.url("/first"));
    let mut peer = within("a connection", stage.accept()).await?;
    peer.request().await;
    let fillers = stage.fill().await;
    let second = client.fetch(stage.url("/second"));
    settle().await;
    peer.write(ok("first")).await;
    done("the first response", first).await?;
    let request = within("the second request", peer.request_or_end()).await?;
    ensure!(request.is_some(), "the connection was closed");
    for _ in &fillers {
        within("a filler", stage.accept()).await?;
    }
    // The SYN that was dropped is sent again after a second.
    let mut other = within("the dial", stage.accept()).await?;
    settle().await;
    let third = client.fetch(stage.url("/third"));
    let request = within("the third request", other.request_or_end()).await?;
    ensure!(request.is_some(), "it was closed unused");
    other.write(ok("third")).await;
    done("the third response", third).await?;
    peer.write(ok("second")).await;
    done("the second response", second).await?;
    Ok(())
}

pub(crate) async fn a_request_dropped_midway_harms_no_other<S: Subject>() -> Kept {
    let mut scene = Scene::idle(S::new()).await?;
    let dropped = scene.client.start(Ask::get(scene.stage.url("/dropped")));
    scene.peer.request().await;
    dropped.abort();
    // The task has ended, and with it the request.
    drop(dropped.await);
    let next = scene.client.fetch(scene.stage.url("/next"));
    let mut other = within("a connection", scene.stage.accept()).await?;
    other.serve("next").await;
    let text = done("the next response", next).await?;
    ensure!(text == "next", "{text:?}");
    Ok(())
}
