//! Any bytes read the same in any pieces, by the decoder and by the counter, and a head has the
//! fields that httparse reads in it.
#![no_main]

mod reading;

use keepwarm_http1::{Asked, Counter, Refusal, Rules};
use libfuzzer_sys::fuzz_target;

use reading::{Read, read};

/// Asserts that two readings of the same bytes agree. Of several things that are wrong with a head,
/// the pieces decide which is found first.
fn assert_alike(one: &Result<Read, (Refusal, u64)>, other: &Result<Read, (Refusal, u64)>) {
    if one.is_ok() || other.is_ok() {
        assert_eq!(one, other);
    }
}

/// Asserts that a head has the fields that httparse reads in it.
fn assert_fields_alike(read: &Read, bytes: &[u8]) {
    let mut fields = vec![httparse::EMPTY_HEADER; bytes.len() / 2 + 1];
    let mut response = httparse::Response::new(&mut fields);
    response.parse(bytes).expect("httparse has parsed it");
    assert_eq!(response.code, Some(read.status));
    assert_eq!(response.headers.len(), read.headers.len());
    for field in response.headers.iter() {
        let mut all = read.headers.get_all(field.name).into_iter();
        assert!(all.any(|value| value.as_bytes() == field.value), "{}", field.name);
    }
}

fuzz_target!(|input: (u8, u16, u16, &[u8])| {
    let (asked, first, second, bytes) = input;
    let asked = [Asked::Plain, Asked::Head, Asked::Connect, Asked::Upgrade][usize::from(asked % 4)];
    let whole = read(asked, &[bytes]);
    let (low, high) = (first.min(second), first.max(second));
    let cut = |at: u16| usize::from(at) % (bytes.len() + 1);
    let (low, high) = (cut(low).min(cut(high)), cut(low).max(cut(high)));
    let pieces = [&bytes[..low], &bytes[low..high], &bytes[high..]];
    assert_alike(&read(asked, &pieces), &whole);
    let each: Vec<&[u8]> = bytes.chunks(1).collect();
    if bytes.len() < 512 {
        assert_alike(&read(asked, &each), &whole);
    }

    if let Ok(read) = &whole
        && read.interim.is_empty()
    {
        assert_fields_alike(read, bytes);
    }

    // The counter takes no empty line before a head.
    if bytes.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        return;
    }
    let mut counter = Counter::new(Rules::default());
    counter.begin(asked, false);
    match (counter.feed(bytes), &whole) {
        (Ok(fed), Ok(read)) => {
            if let Some(counts) = fed.complete {
                assert_eq!((counts.status, counts.body_bytes), (read.status, read.body.len() as u64));
                assert_eq!(bytes.len() - fed.consumed, read.left);
            }
        }
        // Nor one between an interim head and the next.
        (Err(error), Ok(read)) if error.refusal == Refusal::NotHttp && !read.interim.is_empty() => {}
        (Err(error), Ok(read)) => panic!("counter: {error:?}, decoder: {read:?}"),
        // The decoder parses trailers, which the counter skips.
        (_, Err(_)) => {}
    }
});
