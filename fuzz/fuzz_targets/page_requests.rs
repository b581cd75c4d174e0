//! Heads of requests to the page of a watch or a load (`--listen`, `--serve`).
#![no_main]
// The file is pure, and private to the tool: it is read here as it stands there.
#![allow(dead_code)]

#[path = "../../crates/keepwarm-cli/src/watch/listen/head.rs"]
mod head;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((request, length)) = head::parse(bytes) else {
        // What is not complete may become anything; cut earlier, it is not complete either.
        assert!(head::parse(&bytes[..bytes.len() / 2]).is_none_or(|(half, _)| half.refused.is_some()));
        return;
    };
    assert!((1..=bytes.len().max(1)).contains(&length), "{length} of {}", bytes.len());
    if request.refused.is_some() {
        return;
    }
    // A head that is served does not depend on the bytes behind it, and has no body among them.
    assert!(!request.path.contains(['?', '#', ' ', '\r', '\n']), "{:?}", request.path);
    let (alone, same) = head::parse(&bytes[..length]).expect("complete");
    assert_eq!((same, &alone.path, alone.keeps), (length, &request.path, request.keeps));
    let served = bytes[..length].to_ascii_lowercase();
    let has = |name: &[u8]| served.windows(name.len()).any(|there| there == name);
    assert!(!has(b"\ntransfer-encoding:"), "a body would be read as a request");
});
