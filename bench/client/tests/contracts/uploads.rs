//! Responses that do not wait for the end of their request.

use keepwarm_testkit::scripted::{Stage, ok};

use crate::ensure::{Kept, done, within};
use crate::reuse::read;
use crate::subject::{Ask, Subject};

pub(crate) async fn a_response_that_overtakes_its_upload_is_delivered<S: Subject>() -> Kept {
    let (stage, client) = (Stage::open().await, S::new());
    let (ask, gate) = Ask::gated(stage.url("/"));
    let sent = client.start(ask);
    let mut peer = within("a connection", stage.accept()).await?;
    peer.write(ok("early")).await;
    read(done("the response", sent).await?, "early").await?;
    drop(gate);
    Ok(())
}

/// Neither closed nor of use: that would be a leak.
pub(crate) async fn a_stuck_upload_does_not_hold_its_connection_for_ever<S: Subject>() -> Kept {
    let (stage, client) = (Stage::open().await, S::new());
    let (ask, gate) = Ask::gated(stage.url("/"));
    let sent = client.start(ask);
    let mut peer = within("a connection", stage.accept()).await?;
    peer.write(ok("early")).await;
    read(done("the response", sent).await?, "early").await?;
    within("the close", peer.ended()).await?;
    drop(gate);
    Ok(())
}
