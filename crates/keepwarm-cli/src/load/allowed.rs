//! The addresses that a load may connect to (`--only`). Owns the pattern and the refusal; the plan
//! has resolved the names by then, so that a name cannot lead elsewhere.

use std::net::{IpAddr, SocketAddr};

use keepwarm_load::Plan;

use crate::exit::{Exit, Failure};

/// Addresses of a network, and one port or all: `10.0.0.0/8:80`, `[fd00::/8]:443`, `10.0.0.5:*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u32,
    port: Option<u16>,
}

const SYNTAX: &str = "write ADDRESS/PREFIX:PORT, such as 10.0.0.0/8:80 or [fd00::/8]:*";

impl Network {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (network, port) = text.trim().rsplit_once(':').ok_or(SYNTAX)?;
        let network = match network.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner,
            None if network.contains(':') => return Err(SYNTAX.to_owned()),
            None => network,
        };
        let port = match port {
            "*" => None,
            number => Some(number.parse().ok().filter(|port| *port > 0).ok_or(SYNTAX)?),
        };
        let (address, prefix) = match network.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().map_err(|_| SYNTAX)?)),
            None => (network, None),
        };
        let address: IpAddr = address.parse().map_err(|_| SYNTAX)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        match prefix.unwrap_or(bits) {
            prefix if prefix <= bits => Ok(Self { address, prefix, port }),
            prefix => Err(format!("/{prefix} is longer than an address of {bits} bits")),
        }
    }

    fn has(&self, target: SocketAddr) -> bool {
        let same = |own: u128, other: u128, bits: u32| {
            let shift = bits - self.prefix;
            // A shift by all bits would overflow.
            shift == 128 || own >> shift == other >> shift
        };
        let in_network = match (self.address, target.ip().to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same(u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
            _ => false,
        };
        in_network && self.port.is_none_or(|port| port == target.port())
    }
}

/// Refuses a plan that may connect outside `networks`. An empty list allows every address.
pub(super) fn check(plan: &Plan, networks: &[Network]) -> Result<(), Failure> {
    if networks.is_empty() {
        return Ok(());
    }
    let refused = |what: String| {
        let way_out = "allow the address there, or aim at another";
        Err(Failure::new(Exit::Usage, format!("{what} is outside of --only; {way_out}")))
    };
    let mut addresses = plan.addresses().peekable();
    if addresses.peek().is_none() {
        return refused(format!("a Unix socket, for {}", plan.url()));
    }
    match addresses.find(|target| !networks.iter().any(|network| network.has(*target))) {
        Some(target) => refused(format!("{target}, an address of {},", plan.host())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(network: &str, target: &str) -> bool {
        Network::parse(network).unwrap().has(target.parse().unwrap())
    }

    #[test]
    fn network_and_port_decide() {
        assert!(allows("10.0.0.0/8:80", "10.255.0.1:80"));
        assert!(!allows("10.0.0.0/8:80", "10.255.0.1:81"));
        assert!(!allows("10.0.0.0/8:*", "11.0.0.1:80"));
        assert!(allows("10.0.0.5:*", "10.0.0.5:443"));
        assert!(!allows("10.0.0.5:*", "10.0.0.6:443"));
        assert!(allows("0.0.0.0/0:*", "192.0.2.1:1"));
        assert!(allows("[::/0]:*", "[2001:db8::1]:1"));
        assert!(allows("[fd00::/8]:443", "[fd12::1]:443"));
        assert!(!allows("[fd00::/8]:443", "[fe80::1]:443"));
        assert!(!allows("0.0.0.0/0:*", "[2001:db8::1]:1"));
    }

    #[test]
    fn mapped_address_is_its_ipv4_one() {
        assert!(allows("10.0.0.0/8:80", "[::ffff:10.0.0.1]:80"));
        assert!(!allows("10.0.0.0/8:80", "[::ffff:11.0.0.1]:80"));
    }

    #[test]
    fn wrong_pattern_says_the_syntax() {
        let wrong =
            ["", "10.0.0.0/8", "10.0.0.0/33:80", "x:80", "fd00::/8:80", "10.0.0.0/8:0", ":*"];
        for text in wrong {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }
}
