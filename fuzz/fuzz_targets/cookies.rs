//! `Set-Cookie` of any server, and `cookies.txt`: a jar that is saved is read again with the same cookies.
#![no_main]

use http::Uri;
use keepwarm::{CookieStore, Jar};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (set_cookie, file) = input;
    let _ = Jar::load(file);
    let url = Uri::from_static("https://www.example.test/a/b");
    let jar = Jar::new();
    if !jar.add(set_cookie, &url) {
        return;
    }
    let again = Jar::load(&jar.save()).expect("our own file");
    // Tabs part the columns of the file: a cookie with one in its name or path is left out.
    if !set_cookie.contains('\t') {
        assert_eq!(again.len(), jar.len(), "{set_cookie:?}");
        assert_eq!(again.cookies(&url), jar.cookies(&url), "{set_cookie:?}");
    }
});
