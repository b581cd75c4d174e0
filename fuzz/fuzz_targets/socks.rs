//! Answers of a SOCKS5 proxy, and the response behind them: any bytes, in two pieces, end the request.
#![no_main]

use std::io;
use std::time::Duration;

use keepwarm::connect::Destination;
use keepwarm::{Client, Proxy};
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// Sends a request through a proxy that writes `bytes` and closes.
async fn request(has_password: bool, cut: usize, bytes: Vec<u8>) -> keepwarm::Result<usize> {
    let proxy = tower::service_fn(move |_: Destination| {
        let bytes = bytes.clone();
        async move {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move {
                let (first, second) = bytes.split_at(cut.min(bytes.len()));
                let _ = theirs.write_all(first).await;
                tokio::task::yield_now().await;
                let _ = theirs.write_all(second).await;
                let _ = theirs.shutdown().await;
                let mut rest = tokio::io::sink();
                let _ = tokio::io::copy(&mut theirs, &mut rest).await;
            });
            Ok::<_, io::Error>(ours)
        }
    });
    let user = if has_password { "me:secret@" } else { "" };
    let rule = Proxy::all(format!("socks5h://{user}proxy.test"))?;
    let client = Client::builder().connector(proxy).proxy(rule).build()?;
    let response = client.get("http://origin.test/").timeout(Duration::from_secs(5)).send().await?;
    response.bytes_up_to(1 << 20).await.map(|body| body.len())
}

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (has_password, cut, bytes) = input;
    let ended = RUNTIME.with(|runtime| {
        runtime.block_on(request(has_password, usize::from(cut), bytes.to_vec()))
    });
    match ended {
        Ok(length) => assert!(length <= bytes.len()),
        Err(error) => assert!(!error.is_timeout(), "{error}"),
    }
});
