//! Parses numbers, ports and addresses as people type them.

use std::net::{Ipv4Addr, SocketAddr};

/// Parses a whole number from `min` to `max`: `10000`, `10,000`, `10k`, `1e6`.
pub(crate) fn count(
    min: u64,
    max: u64,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = amount(text).filter(|number| number.fract() == 0.0);
        let number =
            match number {
                // Any count below this is exact as a float.
                Some(number) if number.abs() < 9e15 => number,
                _ => text.trim().parse::<u64>().map(|number| number as f64).map_err(|_| {
                    "it is not a whole number: write 10000, 10,000 or 10k".to_owned()
                })?,
            };
        if number < min as f64 || number > max as f64 {
            let max = if max == u64::MAX { String::new() } else { format!("={max}") };
            return Err(format!("{number} is not in {min}..{max}"));
        }
        Ok(number as u64)
    }
}

/// Makes a reader as [`count`] does, for numbers that fit 32 bits.
pub(crate) fn small_count(
    min: u32,
    max: u32,
) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    let count = count(min.into(), max.into());
    move |text| count(text).map(|number| u32::try_from(number).unwrap_or(max))
}

/// Parses a rate: `100`, `100/s`, `2.5`, `10k`. The plan knows which rates it can keep.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches("/s");
    amount(number)
        .ok_or_else(|| "it is not a rate: write requests a second, as 100 or 100/s".to_owned())
}

/// Parses a number with separators or a suffix.
fn amount(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, factor) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |number| (number, 1e6)),
    };
    let groups: Vec<&str> = number.split([',', '_']).collect();
    let is_grouped = groups.len() == 1
        || (groups[1..].iter().all(|group| group.len() == 3) && (1..=3).contains(&groups[0].len()));
    let number: f64 = is_grouped.then(|| groups.concat().parse().ok())??;
    Some(number * factor).filter(|number| number.is_finite())
}

/// Parses a port of this host: `8081`, `:8081`, `localhost:8081`.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    let wrong = || "it is not a port of this host: write 8081, from 1 to 65535".to_owned();
    let (host, port) = text.trim().rsplit_once(':').unwrap_or(("", text.trim()));
    if !["", "localhost", "127.0.0.1", "[::1]"].contains(&host) {
        return Err(wrong());
    }
    port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)
}

/// Parses an address to listen on: `127.0.0.1:8081`, `localhost:8081`, `:8081`, `8081`, `[::1]:0`.
/// Without a host, only this host can connect.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let address = match host {
        "" | "localhost" => port.parse().ok().map(|port| (Ipv4Addr::LOCALHOST, port).into()),
        _ => text.parse().ok(),
    };
    address.ok_or_else(|| {
        "it is not an address and a port: write 127.0.0.1:8081, localhost:8081 or :8081; port 0 \
         takes a free one"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_parse_as_people_write_them() {
        let any = count(1, u64::MAX);
        for (text, number) in
            [("5", 5), ("10,000", 10_000), ("10k", 10_000), ("1e6", 1_000_000), ("2M", 2_000_000)]
        {
            assert_eq!(any(text), Ok(number), "{text}");
        }
        for text in ["", "abc", "1.5", "-", "1,00", "k", "1e400", "NaN", "inf"] {
            assert!(any(text).unwrap_err().contains("write 10000, 10,000 or 10k"), "{text}");
        }
        assert_eq!(any("0"), Err("0 is not in 1..".to_owned()));
        assert_eq!(any("-1"), Err("-1 is not in 1..".to_owned()));
        assert_eq!(small_count(1, 60_000)("70,000"), Err("70000 is not in 1..=60000".to_owned()));
        assert_eq!(count(0, u64::MAX)("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn rates_may_have_their_unit() {
        assert_eq!((rate("100/s"), rate("2.5"), rate("-1")), (Ok(100.0), Ok(2.5), Ok(-1.0)));
        assert!(rate("abc").unwrap_err().contains("100/s"));
    }

    #[test]
    fn ports_and_addresses_parse_where_clear() {
        for text in ["8081", ":8081", "localhost:8081", "127.0.0.1:8081", "[::1]:8081"] {
            assert_eq!(port(text), Ok(8081), "{text}");
        }
        for text in ["", "0", "65536", "abc", "10.0.0.5:8081", ":"] {
            assert!(port(text).is_err(), "{text}");
        }
        for text in [":8081", "localhost:8081", "8081", "127.0.0.1:8081"] {
            assert_eq!(listen(text).map(|address| address.port()), Ok(8081), "{text}");
            assert!(listen(text).is_ok_and(|address| address.ip().is_loopback()), "{text}");
        }
        for text in ["", "foo", "127.0.0.1", "127.0.0.1:99999", "10.0.0.1", "host:1"] {
            assert!(listen(text).unwrap_err().contains("localhost:8081"), "{text}");
        }
    }
}
