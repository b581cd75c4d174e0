//! Answers of an HTTP proxy to CONNECT: any bytes, in two pieces, open the tunnel or end in an error.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// Has a proxy write `bytes` and close, and returns the first bytes behind its answer.
async fn tunnel(cut: usize, bytes: &[u8]) -> keepwarm::Result<Vec<u8>> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    let (first, second) = (first.to_vec(), second.to_vec());
    tokio::spawn(async move {
        let _ = theirs.write_all(&first).await;
        tokio::task::yield_now().await;
        let _ = theirs.write_all(&second).await;
        let _ = theirs.shutdown().await;
        let _ = tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await;
    });
    let opened = tokio::time::timeout(Duration::from_secs(5), keepwarm::fuzzing::tunnel(ours));
    opened.await.expect("it ends with the proxy's close")
}

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    match RUNTIME.with(|runtime| runtime.block_on(tunnel(cut.into(), bytes))) {
        // Every byte behind the head of a 2xx is the origin's.
        Ok(first) => assert!(
            first.is_empty() || bytes.windows(first.len()).any(|there| there == first),
            "{first:?} is not the proxy's"
        ),
        Err(error) => assert!(error.to_string().contains("proxy.test"), "{error}"),
    }
});
