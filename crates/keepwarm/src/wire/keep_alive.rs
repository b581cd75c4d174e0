//! The `Keep-Alive` field of a response: the server's advice on how long it keeps the connection.
//!
//! This module parses the field; the pool decides what follows from it. The field is older than
//! HTTP/1.1 and in none of its documents (RFC 2068, 19.7.1, has the last description), so a
//! parameter that cannot be parsed is ignored.

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;
use keepwarm_pool::Advice;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Parses the advice of a response head: `timeout=` in seconds, `max=` in exchanges. Of several
/// values the smallest counts. `None` if no parameter could be parsed.
pub(crate) fn read(headers: &HeaderMap) -> Option<Advice> {
    let mut advice = Advice::default();
    let values = headers.get_all(KEEP_ALIVE).iter().filter_map(|value| value.to_str().ok());
    for parameter in values.flat_map(|value| value.split(',')) {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        let Some(number) = number(value.trim()) else {
            continue;
        };
        let name = name.trim();
        if name.eq_ignore_ascii_case("timeout") {
            let said = Duration::from_secs(number);
            advice.idle_timeout = Some(advice.idle_timeout.map_or(said, |other| other.min(said)));
        } else if name.eq_ignore_ascii_case("max") {
            advice.exchanges_left =
                Some(advice.exchanges_left.map_or(number, |other| other.min(number)));
        }
    }
    (advice != Advice::default()).then_some(advice)
}

/// Parses a number of digits only, in quotation marks or not.
fn number(value: &str) -> Option<u64> {
    let digits = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    // `parse` would accept a sign.
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(values: &[&str]) -> Option<(Option<u64>, Option<u64>)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEEP_ALIVE, value.parse().expect("a field value"));
        }
        read(&headers).map(|a| (a.idle_timeout.map(|span| span.as_secs()), a.exchanges_left))
    }

    #[test]
    fn order_case_and_spacing_are_free() {
        assert_eq!(said(&["timeout=5, max=100"]), Some((Some(5), Some(100))));
        assert_eq!(said(&["MAX=100,Timeout = 5"]), Some((Some(5), Some(100))));
        assert_eq!(said(&["timeout=\"5\""]), Some((Some(5), None)));
        assert_eq!(said(&["max=0"]), Some((None, Some(0))));
    }

    #[test]
    fn smallest_of_several_values_counts() {
        assert_eq!(
            said(&["timeout=9, timeout=5", "timeout=7,max=2", "max=1"]),
            Some((Some(5), Some(1)))
        );
    }

    #[test]
    fn malformed_parameters_are_ignored() {
        for value in [
            "",
            "timeout",
            "timeout=",
            "timeout=-1",
            "timeout=+1",
            "timeout=1.5",
            "timeout=soon",
            "max=99999999999999999999",
            "300",
            "\"",
            "timeout=\"5",
        ] {
            assert_eq!(said(&[value]), None, "{value}");
        }
        assert_eq!(said(&["timeout=never, max=3, x=y"]), Some((None, Some(3))));
        assert_eq!(said(&[]), None);
    }
}
