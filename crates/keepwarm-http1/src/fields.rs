//! Fields that concern a connection, read by bytes: a byte above 127 in one member of a list, or an
//! empty member (RFC 9110, 5.6.1), changes nothing of the other members.

use core::time::Duration;

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Lists the non-empty members of a comma-separated list (RFC 9110, 5.6.1), without the blanks
/// around them.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(blanks_trimmed).filter(|member| !member.is_empty())
}

/// Lists the members of all fields of that name.
pub fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).into_iter().flat_map(|value| members(value.as_bytes()))
}

/// Returns true if `Connection` lists this option (RFC 9110, 7.6.1), in any case of letters.
#[must_use]
pub fn connection_lists(headers: &HeaderMap, option: &str) -> bool {
    listed(headers, &CONNECTION).any(|member| member.eq_ignore_ascii_case(option.as_bytes()))
}

/// The server's hints on how long it keeps a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAlive {
    /// `timeout=`: the time for which an idle connection is kept.
    pub timeout: Option<Duration>,
    /// `max=`: further exchanges that the connection may carry.
    pub max: Option<u64>,
}

/// Parses the `Keep-Alive` fields of a response: `timeout=` in seconds, `max=` in exchanges. Of
/// several values the smallest counts. `None` if no parameter could be parsed.
///
/// The field is older than HTTP/1.1 and in none of its documents (RFC 2068, 19.7.1, has the last
/// description), so a parameter that cannot be parsed is ignored.
#[must_use]
pub fn keep_alive(headers: &HeaderMap) -> Option<KeepAlive> {
    let mut hints = KeepAlive::default();
    for parameter in listed(headers, &KEEP_ALIVE) {
        let Some(equals) = parameter.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = (blanks_trimmed(&parameter[..equals]), &parameter[equals + 1..]);
        let Some(number) = number(blanks_trimmed(value)) else { continue };
        if name.eq_ignore_ascii_case(b"timeout") {
            let said = Duration::from_secs(number);
            hints.timeout = Some(hints.timeout.map_or(said, |other| other.min(said)));
        } else if name.eq_ignore_ascii_case(b"max") {
            hints.max = Some(hints.max.map_or(number, |other| other.min(number)));
        }
    }
    (hints != KeepAlive::default()).then_some(hints)
}

/// Parses digits without sign or blank. `None` for anything else, and beyond 64 bits.
#[must_use]
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Parses a number of digits only, in quotation marks or not.
fn number(value: &[u8]) -> Option<u64> {
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    decimal(quoted.unwrap_or(value))
}

/// Removes SP and HTAB at both ends, the only blanks of HTTP (RFC 9110, 5.6.3).
pub(crate) fn blanks_trimmed(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn said(values: &[&[u8]]) -> Option<(Option<u64>, Option<u64>)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEEP_ALIVE, HeaderValue::from_bytes(value).expect("a field value"));
        }
        keep_alive(&headers).map(|hints| (hints.timeout.map(|span| span.as_secs()), hints.max))
    }

    #[test]
    fn order_case_and_spacing_are_free() {
        assert_eq!(said(&[b"timeout=5, max=100"]), Some((Some(5), Some(100))));
        assert_eq!(said(&[b"MAX=100,Timeout = 5"]), Some((Some(5), Some(100))));
        assert_eq!(said(&[b"timeout=\"5\""]), Some((Some(5), None)));
        assert_eq!(said(&[b"max=0"]), Some((None, Some(0))));
    }

    #[test]
    fn smallest_of_several_values_counts() {
        let values: [&[u8]; 3] = [b"timeout=9, timeout=5", b"timeout=7,max=2", b"max=1"];
        assert_eq!(said(&values), Some((Some(5), Some(1))));
    }

    #[test]
    fn malformed_parameters_are_ignored() {
        let malformed: [&[u8]; 12] = [
            b"",
            b"timeout",
            b"timeout=",
            b"timeout=-1",
            b"timeout=+1",
            b"timeout=1.5",
            b"timeout=soon",
            b"max=99999999999999999999",
            b"300",
            b"\"",
            b"timeout=\"5",
            b"timeout=\"",
        ];
        for value in malformed {
            assert_eq!(said(&[value]), None, "{}", value.escape_ascii());
        }
        assert_eq!(said(&[b"timeout=never, max=3, x=y"]), Some((None, Some(3))));
        assert_eq!(said(&[]), None);
    }

    #[test]
    fn high_bytes_leave_other_members() {
        assert_eq!(said(&[b"x=\xff, , timeout=5,,max=\xfe"]), Some((Some(5), None)));
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(b", \xe9, ,\tClose\t,").expect("a field value");
        headers.append(CONNECTION, value);
        assert!(connection_lists(&headers, "close"));
        assert!(!connection_lists(&headers, "keep-alive"));
    }

    #[test]
    fn longer_words_are_no_option() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("closed, close d, xclose"));
        assert!(!connection_lists(&headers, "close"));
    }
}
