//! What to watch, as people type it: `:8081`, `10.0.0.5`, `dst 10.0.0.5:443`, `src :8081`.

use std::net::{IpAddr, SocketAddr};

use keepwarm_sockets::{Scope, Side};

/// Reads the words of a filter; none is everything.
pub(crate) fn parse(words: &[String]) -> Result<Scope, String> {
    let mut scope = Scope::default();
    let mut address = None;
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

/// What a scope is, for people.
pub(crate) fn describe(scope: &Scope) -> String {
    let place = match (scope.ip, scope.port) {
        (None, None) => return "any address".to_owned(),
        (None, Some(port)) => format!("port {port}"),
        (Some(ip), None) => format!("address {ip}"),
        (Some(ip), Some(port)) => SocketAddr::new(ip, port).to_string(),
    };
    match scope.side {
        None => place,
        Some(Side::Client) => format!("{place} as a client"),
        Some(Side::Server) => format!("{place} as the server"),
    }
}

fn read_address(text: &str) -> Result<(Option<IpAddr>, Option<u16>), String> {
    if let Some(port) = text.strip_prefix(':').filter(|rest| !rest.contains(':')) {
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
        "{text:?} is no filter; write :8081, 10.0.0.5, 10.0.0.5:443 or [::1]:443, with dst before it \
         for connections to there, or src for those that are served there; names are not looked up"
    ))
}

fn port_of(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{text:?} is no port: 1 to 65535")),
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
    fn addresses_ports_and_sides_are_read_in_one_word_or_several() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let (none, client, server) = (None, Some(Side::Client), Some(Side::Server));
        for (words, scope) in [
            (&[][..], Scope::default()),
            (&[":8081"], Scope { port: Some(8081), ..Scope::default() }),
            (&["10.0.0.5"], Scope { ip: ip("10.0.0.5"), ..Scope::default() }),
            (&["10.0.0.5:443"], Scope { ip: ip("10.0.0.5"), port: Some(443), side: none }),
            (&["[::1]:443"], Scope { ip: ip("::1"), port: Some(443), side: none }),
            (&["dst", "::1"], Scope { ip: ip("::1"), port: None, side: client }),
            (&["dst 10.0.0.5:443"], Scope { ip: ip("10.0.0.5"), port: Some(443), side: client }),
            (&["src", ":80"], Scope { port: Some(80), side: server, ip: None }),
            (&["::ffff:10.0.0.5"], Scope { ip: ip("10.0.0.5"), ..Scope::default() }),
        ] {
            assert_eq!(read(words), Ok(scope), "{words:?}");
        }
    }

    #[test]
    fn a_scope_is_said_as_it_was_understood() {
        let said = |words: &[&str]| describe(&read(words).unwrap());
        assert_eq!(said(&["dst", "10.0.0.5:443"]), "10.0.0.5:443 as a client");
        assert_eq!(said(&["src", ":80"]), "port 80 as the server");
        // An address all of it, though somebody may have meant a port.
        assert_eq!(said(&["::1:443"]), "address ::1:443");
        assert_eq!(said(&[]), "any address");
    }

    #[test]
    fn nonsense_is_refused_with_a_way_out() {
        for words in [
            &["8081"][..],
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
        fn any_words_are_a_filter_or_refused_with_a_way_out(
            words in prop::collection::vec("\\PC{0,12}|dst|src|:[0-9]{0,6}|[\\[\\]0-9a-f.:]{0,20}", 0..4)
        ) {
            match parse(&words) {
                Ok(scope) => prop_assert!(scope.port.is_none_or(|port| port > 0)),
                Err(why) => prop_assert!(!why.is_empty()),
            }
        }
    }
}
