//! Animals that hurt clients with features: content codings, redirects, cookies, and proxies that
//! answer a CONNECT. Expectations follow RFC 9110, 1950 to 1952, 8878 and 6265bis.
//!
//! A client that visits them undoes codings up to a mebibyte a body, follows up to ten redirects and
//! keeps cookies. After each of them the next requests must succeed, as after every animal.

use super::animals::{MARKED, animal, asked_by, says, says_and_closes, write};
use super::{
    Afterwards::{Refused, Reused},
    Animal, Ask, Expect,
    Expect::{EitherButBounded, Fails, Reply},
    Step::{Dribble, Endless, Fin, Flood, HalfClose, Make, Read, ReadBytes, Rst, Silence},
};
use crate::codings::{bare_deflate as bare, gzip, zlib, zstd};

/// The most that a visitor lets a body decode to.
pub const MAX_DECODED: usize = 1 << 20;

/// Lists the animals that a client with all features visits.
#[must_use]
pub fn featured_animals() -> Vec<Animal> {
    [codings(), broken_codings(), bombs(), redirects(), cookies()].into_iter().flatten().collect()
}

/// Lists proxies that misbehave when they are asked for a tunnel. The request fails, and the next
/// ones, which the proxy may read itself, do not.
#[must_use]
pub fn proxies() -> Vec<Animal> {
    let head = "HTTP/1.1 200 OK\r\n";
    let refusals = [
        ("a proxy that wants a password", "407 Proxy Authentication Required", "who is it"),
        ("a proxy that forbids", "403 Forbidden", "no"),
        ("a proxy that redirects a CONNECT", "302 Found\r\nLocation: /{M}", ""),
        ("a proxy that answers 101", "101 Switching Protocols", ""),
    ];
    let mut all: Vec<_> = refusals
        .into_iter()
        .map(|(name, status, body)| {
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            says(name, &answer, Fails, Refused)
        })
        .collect();
    let endless = format!("{head}X: {}\r\n", "x".repeat(1000));
    for (name, script) in [
        ("a proxy that closes on a CONNECT", vec![Read, Fin]),
        ("a proxy that aborts on a CONNECT", vec![Read, Rst]),
        ("a proxy that aborts in a CONNECT", vec![ReadBytes(10), Rst]),
        ("a proxy that half closes on a CONNECT", vec![Read, HalfClose]),
        ("a proxy that is silent on a CONNECT", vec![Read, Silence]),
        ("a proxy that closes in its answer", vec![Read, write("HTTP/1.1 200"), Fin]),
        ("a proxy that is silent in its answer", vec![Read, write(head), Silence]),
        ("a proxy without HTTP", vec![Read, write("SSH-2.0-OpenSSH\r\n")]),
        ("a proxy whose head never ends", vec![Read, write(endless), Endless("X: y\r\n".into())]),
        (
            "a proxy of many interim responses",
            vec![Read, Flood("HTTP/1.1 100 Continue\r\nX: y\r\n\r\n".into(), 60_000)],
        ),
        (
            "a proxy whose refusal is large",
            vec![
                Read,
                write("HTTP/1.1 407 No\r\nTransfer-Encoding: chunked\r\n\r\n"),
                Flood("400\r\n".to_owned() + &"x".repeat(1024) + "\r\n", 10_000),
            ],
        ),
        (
            "a proxy whose refusal has two lengths",
            vec![
                Read,
                write("HTTP/1.1 407 No\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            ],
        ),
        ("a tunnel that closes", vec![Read, Dribble(format!("{head}\r\n")), Fin]),
        ("a tunnel that aborts", vec![Read, write(format!("{head}\r\n")), Rst]),
        ("a tunnel that is silent", vec![Read, write(format!("{head}\r\n")), Silence]),
        (
            "a tunnel that speaks http",
            vec![
                Read,
                write(format!("{head}\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{{X}}")),
            ],
        ),
    ] {
        all.push(animal(name, "as it is called", script, Fails, Refused));
    }
    all
}

/// A response with these fields and a body in this coding.
fn response(fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn chunked(coding: &str, body: &[u8], size: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut all = head.into_bytes();
    for chunk in body.chunks(size) {
        all.extend(format!("{:x}\r\n", chunk.len()).bytes());
        all.extend(chunk);
        all.extend(b"\r\n");
    }
    all.extend(b"0\r\n\r\n");
    all
}

/// The bytes of a coding with its last ones cut off.
fn cut(mut coded: Vec<u8>, bytes: usize) -> Vec<u8> {
    coded.truncate(coded.len() - bytes);
    coded
}

fn with_last_byte_flipped(mut coded: Vec<u8>) -> Vec<u8> {
    if let Some(last) = coded.last_mut() {
        *last ^= 1;
    }
    coded
}

/// Makes the bytes of an answer from the marker of its exchange.
type MakeFn = fn(&str) -> Vec<u8>;

fn makes(name: &str, make: MakeFn, expect: Expect) -> Animal {
    animal(name, "answers so", vec![Read, Make(make)], expect, Reused)
}

fn codings() -> Vec<Animal> {
    let right: [(&str, MakeFn); 17] = [
        ("gzip", |own| response("Content-Encoding: gzip", &gzip(own.as_bytes()))),
        ("gzip by an old name", |own| response("content-encoding: X-GZip", &gzip(own.as_bytes()))),
        ("gzip in two members", |own| {
            let (one, two) = own.as_bytes().split_at(3);
            response("Content-Encoding: gzip", &[gzip(one), gzip(b""), gzip(two)].concat())
        }),
        ("gzip in chunks of a byte", |own| chunked("gzip", &gzip(own.as_bytes()), 1)),
        ("gzip and zeros behind it", |own| {
            response("Content-Encoding: gzip", &[gzip(own.as_bytes()), vec![0; 512]].concat())
        }),
        ("deflate", |own| response("Content-Encoding: deflate", &zlib(own.as_bytes()))),
        ("bare deflate", |own| response("Content-Encoding: deflate", &bare(own.as_bytes()))),
        ("zstd", |own| response("Content-Encoding: zstd", &zstd(own.as_bytes()))),
        ("zstd in two frames", |own| {
            let (one, two) = own.as_bytes().split_at(3);
            chunked("zstd", &[zstd(one), zstd(two)].concat(), 5)
        }),
        ("identity", |own| response("Content-Encoding: identity", own.as_bytes())),
        ("a coding without a name", |own| response("Content-Encoding: ", own.as_bytes())),
        ("a coding of a wrong name", |own| response("Content-Encoding: gzipp", own.as_bytes())),
        ("a coding that nobody asks for", |own| {
            response("Content-Encoding: compress", own.as_bytes())
        }),
        ("two codings in a field", |own| {
            response("Content-Encoding: gzip, identity", own.as_bytes())
        }),
        ("two fields of codings", |own| {
            response("Content-Encoding: br\r\nContent-Encoding: gzip", own.as_bytes())
        }),
        ("gzip as a type", |own| response("Content-Type: application/gzip", own.as_bytes())),
        ("a coding of bytes beyond ASCII", |own| {
            response("Content-Encoding: gzip\u{e9}", own.as_bytes())
        }),
    ];
    let mut all: Vec<_> = right.into_iter().map(|(name, make)| makes(name, make, MARKED)).collect();
    all.push(makes(
        "gzip of nothing",
        |_| response("Content-Encoding: gzip", &gzip(b"")),
        Reply(200, ""),
    ));
    let empty = "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 0\r\n\r\n";
    all.push(says("a coding of an empty body", empty, Reply(200, ""), Reused));
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 40\r\n\r\n";
    all.push(asked_by(Ask::Head, says("HEAD of gzip", head, Reply(200, ""), Reused)));
    let head = "HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\nContent-Length: 40\r\n\r\n";
    all.push(says("304 of gzip", head, Reply(304, ""), Reused));
    let head = "HTTP/1.1 204 No Content\r\nContent-Encoding: zstd\r\n\r\n";
    all.push(says("204 of zstd", head, Reply(204, ""), Reused));
    let make: MakeFn = |own| until_the_end(&gzip(own.as_bytes()));
    all.push(animal(
        "gzip that ends with the connection",
        "",
        vec![Read, Make(make), Fin],
        MARKED,
        Refused,
    ));
    all
}

/// A gzipped body without a length.
fn until_the_end(coded: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", coded].concat()
}

fn broken_codings() -> Vec<Animal> {
    let broken: [(&str, MakeFn); 14] = [
        ("gzip that is plain", |own| response("Content-Encoding: gzip", own.as_bytes())),
        ("gzip that is zlib", |own| response("Content-Encoding: gzip", &zlib(own.as_bytes()))),
        ("deflate that is gzip", |own| {
            response("Content-Encoding: deflate", &gzip(own.as_bytes()))
        }),
        ("brotli that is plain", |own| response("Content-Encoding: br", own.as_bytes())),
        ("zstd that is plain", |own| response("Content-Encoding: zstd", own.as_bytes())),
        ("gzip without its last byte", |own| {
            response("Content-Encoding: gzip", &cut(gzip(own.as_bytes()), 1))
        }),
        ("gzip without its check sum", |own| chunked("gzip", &cut(gzip(own.as_bytes()), 8), 7)),
        ("gzip of half a head", |own| {
            response("Content-Encoding: gzip", &gzip(own.as_bytes())[..5])
        }),
        ("gzip of a wrong length", |own| {
            response("Content-Encoding: gzip", &with_last_byte_flipped(gzip(own.as_bytes())))
        }),
        ("gzip and garbage behind it", |own| {
            response("Content-Encoding: gzip", &[&gzip(own.as_bytes())[..], b"garbage"].concat())
        }),
        ("gzip and half a member behind it", |own| {
            response("Content-Encoding: gzip", &[gzip(own.as_bytes()), cut(gzip(b"x"), 3)].concat())
        }),
        ("deflate without its last byte", |own| {
            response("Content-Encoding: deflate", &cut(zlib(own.as_bytes()), 1))
        }),
        ("zstd without its last byte", |own| chunked("zstd", &cut(zstd(own.as_bytes()), 1), 3)),
        ("zstd and garbage behind it", |own| {
            response("Content-Encoding: zstd", &[&zstd(own.as_bytes())[..], b"garbage"].concat())
        }),
    ];
    let mut all: Vec<_> = broken.into_iter().map(|(name, make)| makes(name, make, Fails)).collect();
    for (name, make) in [
        (
            "half of gzip that ends with the connection",
            (|own| until_the_end(&cut(gzip(own.as_bytes()), 9))) as MakeFn,
        ),
        ("gzip whose connection ends before its length", |own| {
            let whole = response("Content-Encoding: gzip", &gzip(own.as_bytes()));
            cut(whole, 4)
        }),
    ] {
        all.push(animal(name, "and closes", vec![Read, Make(make), Fin], Fails, Refused));
    }
    let make: MakeFn = |own| cut(response("Content-Encoding: gzip", &gzip(own.as_bytes())), 4);
    let script = vec![Read, Make(make), Silence];
    all.push(animal("gzip that stops", "and is silent", script, Fails, Refused));
    all
}

/// Four mebibytes of zeros, in at least a thousand times fewer bytes.
fn bombs() -> Vec<Animal> {
    const ZEROS: usize = 4 * MAX_DECODED;
    /// The output of node's zlib for them.
    const BROTLI: &[u8] =
        &[0x9b, 0xff, 0xff, 0x3f, 0xf8, 0x27, 0, 0xe2, 0xb1, 0x40, 0x20, 0xf7, 0xfe, 7];
    let bombs: [(&str, MakeFn); 5] = [
        ("a bomb of gzip", |_| chunked("gzip", &gzip(&vec![0; ZEROS]), 100)),
        ("a bomb of many members", |_| chunked("gzip", &gzip(&vec![0; ZEROS / 8]).repeat(8), 1000)),
        ("a bomb of deflate", |_| response("Content-Encoding: deflate", &zlib(&vec![0; ZEROS]))),
        ("a bomb of brotli", |_| response("Content-Encoding: br", BROTLI)),
        ("a bomb of zstd", |_| response("Content-Encoding: zstd", &zstd(&vec![0; ZEROS]))),
    ];
    bombs.into_iter().map(|(name, make)| makes(name, make, Fails)).collect()
}

fn redirects() -> Vec<Animal> {
    let found = |fields: &str| format!("HTTP/1.1 302 Found\r\n{fields}Content-Length: 0\r\n\r\n");
    let to = |location: &str| found(&format!("Location: {location}\r\n"));
    let mut all: Vec<_> = [
        ("a redirect", "/{M}"),
        ("a redirect to a relative place", "{M}"),
        ("a redirect with dots", "/a/../{M}"),
        ("a redirect with a fragment", "/{M}#part"),
        ("a redirect with spaces around", "  /{M}\t"),
    ]
    .into_iter()
    .map(|(name, location)| follows(1, says(name, &to(location), MARKED, Reused)))
    .collect();
    let long = format!("/{}", "x".repeat(70_000));
    for (name, answer) in [
        ("a redirect to nowhere", found("")),
        ("a redirect to mail", to("mailto:me@a.test")),
        ("a redirect to a script", to("javascript:alert(1)")),
        ("a redirect to a port that is none", to("http://a.test:99999/")),
        ("a redirect to a host that is none", to("http://[fe80/")),
        ("a redirect to a host with a space", to("http://a b/")),
        ("a redirect too long for a URL", to(&long)),
        ("a redirect with credentials", to("http://me:secret@127.0.0.1:1/")),
    ] {
        all.push(says(name, &answer, Reply(302, ""), Reused));
    }
    for (name, status, body) in [
        ("300 with a location", 300, "chosen"),
        ("305 to a proxy", 305, "proxy"),
        ("201 with a location", 201, "made"),
    ] {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: {length}");
        all.push(says(name, &format!("{head}\r\n\r\n{body}"), Reply(status, body), Reused));
    }
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: /{{M}}\r\nContent-Length: 9\r\n\r\n{}",
        "not read."
    );
    all.push(follows(1, says("a redirect with a body", &answer, MARKED, Reused)));
    let endless = "HTTP/1.1 302 Found\r\nLocation: /{M}\r\n\r\n";
    let script = vec![Read, write(endless), Endless("more ".into())];
    all.push(animal("a redirect whose body never ends", "so", script, MARKED, Refused));
    let answer = "HTTP/1.1 302 Found\r\nLocation: /{M}\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\ngarbage";
    all.push(follows(1, says("a redirect whose gzip is garbage", answer, MARKED, Reused)));
    all.push(says_and_closes("a redirect that closes", &to("/{M}"), MARKED, Refused));
    let turn = [Read, write(to("/{M}"))];
    let ring = turn.iter().cloned().cycle().take(2 * 11).collect();
    all.push(animal("a ring of redirects", "eleven times", ring, Reply(302, ""), Reused));
    let answer = "HTTP/1.1 307 Again\r\nLocation: /{M}\r\nContent-Length: 0\r\n\r\n";
    let refused = says_and_closes("307 before the upload", answer, EitherButBounded, Refused);
    all.push(asked_by(Ask::PostLarge, refused));
    all
}

/// Returns an animal that leads a client to `further` requests more.
fn follows(further: usize, mut animal: Animal) -> Animal {
    animal.follows = further;
    animal
}

fn cookies() -> Vec<Animal> {
    let with = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 8\r\n\r\n{{M}}");
    let set = |cookie: &str| with(&format!("Set-Cookie: {cookie}\r\n"));
    let mut all: Vec<_> = [
        ("a cookie", "a=b"),
        ("a cookie of nothing", ""),
        ("a cookie of an equals sign", "="),
        ("a cookie of semicolons", ";;;=;"),
        ("a cookie with quotes", "a=\"b; c\"; Path=\""),
        ("a cookie beyond ASCII", "ä=\u{20ac}; Domain=ö.test"),
        ("a cookie for everybody", "a=b; Domain=test"),
        ("a cookie for an address", "a=b; Domain=0.0.1"),
        ("a cookie of the year 1", "a=b; Expires=Mon, 01 Jan 0001 00:00:00 GMT; Max-Age=soon"),
        ("a cookie for ever", "a=b; Max-Age=99999999999999999999; Expires=never"),
        ("a cookie that breaks its prefix", "__Host-a=b; Domain=a.test; Path=/x"),
        ("a cookie with a tab", "a=b\tc; Path=/\t"),
    ]
    .into_iter()
    .map(|(name, cookie)| says(name, &set(cookie), MARKED, Reused))
    .collect();
    let large = format!("a={}", "x".repeat(100_000));
    all.push(says("a cookie of 100 kB", &set(&large), MARKED, Reused));
    let many: String = (0..3000).map(|n| format!("Set-Cookie: c{n}=v; Path=/\r\n")).collect();
    all.push(says("three thousand cookies", &with(&many), MARKED, Reused));
    let answer =
        "HTTP/1.1 302 Found\r\nLocation: /{M}\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n";
    all.push(follows(1, says("a cookie on a redirect", answer, MARKED, Reused)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bombs_are_a_thousand_times_as_large() {
        for animal in bombs() {
            let Some(Make(make)) = animal.script.last() else { panic!("{animal:?}") };
            let bytes = make("~0000.1~").len();
            assert!(bytes * 900 < 4 * MAX_DECODED, "{}: {bytes}", animal.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let all = super::super::animals().into_iter().chain(featured_animals()).chain(proxies());
        let mut names: Vec<_> = all.map(|animal| animal.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
