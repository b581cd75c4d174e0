//! Small encodings of a request: pairs of a query or a form, and base64 of credentials.
//!
//! Owns bytes alone. Knows no request.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A name and a value of a query or a form: a pair, or a reference to one.
///
/// ```
/// # fn example(client: keepwarm::Client) {
/// let request = client.get("http://127.0.0.1:8081/data").query([("page", 3), ("size", 100)]);
/// let filters = std::collections::BTreeMap::from([("city", "Köln"), ("open", "yes")]);
/// let request = request.query(&filters);
/// # drop(request);
/// # }
/// ```
pub trait Pair {
    /// Returns the name.
    fn name(&self) -> &str;
    /// Returns the value.
    fn value(&self) -> Cow<'_, str>;
}

impl<N: AsRef<str>, V: ToString> Pair for (N, V) {
    fn name(&self) -> &str {
        self.0.as_ref()
    }

    fn value(&self) -> Cow<'_, str> {
        Cow::Owned(self.1.to_string())
    }
}

impl<N: AsRef<str>, V: ToString> Pair for &(N, V) {
    fn name(&self) -> &str {
        self.0.as_ref()
    }

    fn value(&self) -> Cow<'_, str> {
        Cow::Owned(self.1.to_string())
    }
}

/// Encodes pairs as `application/x-www-form-urlencoded` (WHATWG URL, 5.2), as browsers do.
pub(crate) fn pairs(pairs: impl IntoIterator<Item: Pair>) -> String {
    let mut out = String::new();
    for pair in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        form_bytes(&mut out, pair.name());
        out.push('=');
        form_bytes(&mut out, &pair.value());
    }
    out
}

fn form_bytes(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            // A String takes every write.
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// Encodes bytes by base64 (RFC 4648, 4), with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let six = (word >> (18 - 6 * place)) & 0x3f;
            out.push(if place > group.len() { '=' } else { char::from(ALPHABET[six as usize]) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("\u{fb}\u{ff}", "w7vDvw=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded, "{plain:?}");
        }
    }

    #[test]
    fn pairs_are_encoded_as_browsers_do() {
        assert_eq!(pairs([("a b", "c&d=e"), ("\u{e9}", "~*-._")]), "a+b=c%26d%3De&%C3%A9=%7E*-._");
        assert_eq!(pairs([("page", 3)]), "page=3");
        assert_eq!(pairs(Vec::<(&str, &str)>::new()), "");
    }
}
