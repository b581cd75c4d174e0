//! The field Location, and the advice of Keep-Alive beside it: any bytes are followed within the limit, or are an error.
#![no_main]

use std::io;
use std::time::Duration;

use keepwarm::connect::Destination;
use keepwarm::Client;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};

/// Redirects that are followed.
const MOST: u32 = 4;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// Sends a request to servers that answer every request with `head`, and returns the last URL.
async fn request(head: Vec<u8>) -> keepwarm::Result<String> {
    let servers = tower::service_fn(move |_: Destination| {
        let head = head.clone();
        async move {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                while theirs.read(&mut asked).await.is_ok_and(|read| read > 0) {
                    if theirs.write_all(&head).await.is_err() {
                        return;
                    }
                }
            });
            Ok::<_, io::Error>(ours)
        }
    });
    let client = Client::builder().connector(servers).max_redirects(MOST).build()?;
    let request = client.get("http://origin.test/a/b?c").timeout(Duration::from_secs(5));
    Ok(request.send().await?.url().to_string())
}

fuzz_target!(|input: (u8, &[u8], &[u8])| {
    let (status, location, advice) = input;
    let plain = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().copied().filter(|byte| !b"\r\n\0".contains(byte)).collect()
    };
    let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\nLocation: ", 300 + u32::from(status % 10))
        .into_bytes();
    head.extend(plain(location));
    head.extend_from_slice(b"\r\nKeep-Alive: ");
    head.extend(plain(advice));
    head.extend_from_slice(b"\r\n\r\n");
    match RUNTIME.with(|runtime| runtime.block_on(request(head))) {
        Ok(url) => {
            let authority = url.strip_prefix("http://").and_then(|rest| rest.split('/').next());
            assert!(authority.is_some_and(|authority| !authority.contains('@')), "{url}");
        }
        Err(error) => assert!(!error.is_timeout(), "{error}"),
    }
});
