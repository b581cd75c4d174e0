//! A connection that died in silence makes its idle siblings suspect: no request takes one while it
//! can dial, and they close.

use std::time::Duration;

use keepwarm::{Client, CloseReason};
use keepwarm_testkit::scripted::{Stage, eventually, within};

use crate::support::{assert_at_rest, done, fetch, only, warm_two};

const SOON: Duration = Duration::from_millis(60);

#[tokio::test]
async fn siblings_of_a_silent_connection_are_passed_over() {
    let stage = Stage::open().await;
    let client = Client::new();
    let (_sibling, mut silent) = warm_two(&client, &stage).await;
    let lost = client.get(stage.url("/lost")).timeout(SOON).send();
    let error = within("the timeout", lost).await.expect_err("no byte comes");
    assert!(error.is_total_timeout(), "{error}");
    assert_eq!(silent.request().await.target(), "/lost");

    // The sibling is idle, or has been closed for its silence: the request dials.
    let next = fetch(&client, &stage.url("/next"));
    let mut fresh = stage.accept().await;
    assert_eq!(fresh.serve("fresh").await.target(), "/next");
    assert_eq!(done(next).await.expect("a body"), "fresh");
    eventually("the sibling's close", || only(&client).closed_for(CloseReason::Suspect) == 1).await;
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.idle), (3, 1));
}

/// A peer that has sent a byte is alive, however late the rest is.
#[tokio::test]
async fn siblings_of_a_slow_connection_are_used() {
    let stage = Stage::open().await;
    let client = Client::new();
    let (mut sibling, mut slow) = warm_two(&client, &stage).await;
    let late = client.get(stage.url("/late")).timeout(Duration::from_secs(3));
    let late = tokio::spawn(late.send());
    slow.request().await;
    slow.write("HTTP/1.1 ").await;
    let error = done(late).await.expect_err("the head has no end");
    assert!(error.is_total_timeout(), "{error}");

    let next = fetch(&client, &stage.url("/next"));
    assert_eq!(sibling.serve("used").await.target(), "/next");
    assert_eq!(done(next).await.expect("a body"), "used");
    assert_eq!(only(&client).closed_for(CloseReason::Suspect), 0);
}
