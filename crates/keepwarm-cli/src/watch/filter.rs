//! The filter of a watch, as people type it: `:8081`, `10.0.0.5`, `dst 10.0.0.5:443`, `src :8081`.
//!
//! Owns the parser. Looks up no names.

use std::net::{IpAddr, SocketAddr};

use keepwarm_sockets::{Scope, Side};

/// Parses the words of a filter; no words are everything.
pub(crate) fn parse(words: &[String]) -> Result<Scope, String> {
    let mut scope = Scope::default();
    let mut address = None;
    // As `watch "$PORT"` with an unset variable, which would watch everything.
    if words.iter().any(|words| words.trim().is_empty()) {
        return Err(
            "a filter is empty; write :8081, or leave it out to watch everything".to_owned()
        );
    }
    for word in words.iter().flat_map(|words| words.split_whitespace()) {
        match word {
            "dst" | "src" if scope.side.is_some() => {
                return Err(format!("one of dst and src is enough, and {word:?} is the second"));
            }
            "dst" => scope.side = Some(Side::Client),
            "src" => scope.side = Some(Side::Server),
            _ if address.is_some() => {
                return Err(format!("one address is enough, and {word:?} is the second"));
            }
            _ => address = Some(word),
        }
    }
    match address {
        Some(address) => (scope.ip, scope.port) = read_address(address)?,
        None if scope.side.is_some() => {
            return Err("an address follows dst and src: dst 10.0.0.5:443".to_owned());
        }
        None => {}
    }
    Ok(scope)
}

fn read_address(text: &str) -> Result<(Option<IpAddr>, Option<u16>), String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.strip_prefix(':').filter(|rest| !rest.contains(':'));
    // A bare number is a port: no address of one number is written like that.
    if let Some(port) = port.or_else(|| is_number.then_some(text)) {
        return port_of(port).map(|port| (None, Some(port)));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        let port = port_of(&address.port().to_string())?;
        return Ok((Some(address.ip().to_canonical()), Some(port)));
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(ip) = bracketed.unwrap_or(text).parse::<IpAddr>() {
        return Ok((Some(ip.to_canonical()), None));
    }
    Err(format!(
        "{text:?} is not a filter; write :8081, 10.0.0.5, 10.0.0.5:443 or [::1]:443, with dst before \
         it for connections to that address, or src for connections served there; names are not looked \
         up"
    ))
}

fn port_of(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{text:?} is not a port: 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(words: &[&str]) -> Result<Scope, String> {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn filter_takes_address_port_and_side() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let (none, client, server) = (None, Some(Side::Client), Some(Side::Server));
        for (words, scope) in [
            (&[][..], Scope::default()),
            (&[":8081"], Scope::of_port(8081)),
            (&["8081"], Scope::of_port(8081)),
            (&["dst 443"], Scope::of_port(443).with_side(client)),
            (&["10.0.0.5"], Scope::default().with_ip(ip("10.0.0.5"))),
            (&["10.0.0.5:443"], Scope::of_port(443).with_ip(ip("10.0.0.5")).with_side(none)),
            (&["[::1]:443"], Scope::of_port(443).with_ip(ip("::1")).with_side(none)),
            (&["dst", "::1"], Scope::default().with_ip(ip("::1")).with_side(client)),
            (&["dst 10.0.0.5:443"], Scope::of_port(443).with_ip(ip("10.0.0.5")).with_side(client)),
            (&["src", ":80"], Scope::of_port(80).with_side(server)),
            (&["::ffff:10.0.0.5"], Scope::default().with_ip(ip("10.0.0.5"))),
            // All of it is the address, though a port may have been meant.
            (&["::1:443"], Scope::default().with_ip(ip("::1:443"))),
        ] {
            assert_eq!(read(words), Ok(scope), "{words:?}");
        }
    }

    #[test]
    fn nonsense_is_rejected_with_a_hint() {
        for words in [
            &[""][..],
            &[":1", ""],
            &["0"],
            &["65536"],
            &[":0"],
            &[":http"],
            &["example.com:80"],
            &["dst"],
            &[":1", ":2"],
            &["dst", "src", ":1"],
            &["[::1"],
            &["::1]"],
        ] {
            let error = read(words).unwrap_err();
            assert!(error.len() > 15, "{words:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_words_parse_or_explain_themselves(
            words in prop::collection::vec("\\PC{0,12}|dst|src|:[0-9]{0,6}|[\\[\\]0-9a-f.:]{0,20}", 0..4)
        ) {
            match parse(&words) {
                Ok(scope) => prop_assert!(scope.port.is_none_or(|port| port > 0)),
                Err(why) => prop_assert!(!why.is_empty()),
            }
        }
    }
}
