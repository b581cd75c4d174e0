//! IP addresses of this network namespace, learned from the local addresses of sockets.
//!
//! Owns the list and its limit. An address is known from the first socket that has it, so a
//! connection between two addresses of one host is recognised once either of its sockets was seen.

use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::kernel::keyed_hash::Map;

/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 1 << 12;

/// Number of a remembered address, counted from 1: two bytes in each open socket.
pub(super) type AddressNumber = NonZeroU16;

/// Addresses that belong to this network namespace.
#[derive(Debug, Default)]
pub(super) struct HostAddresses {
    numbers: Map<IpAddr, AddressNumber>,
    by_number: Vec<IpAddr>,
}

impl HostAddresses {
    /// Remembers an address; returns its number, or `None` if there is no room for it.
    pub(super) fn learn(&mut self, ip: IpAddr) -> Option<AddressNumber> {
        if let Some(number) = self.numbers.get(&ip) {
            return Some(*number);
        }
        if self.by_number.len() >= MAX_ADDRESSES {
            return None;
        }
        self.by_number.push(ip);
        let number = u16::try_from(self.by_number.len()).ok().and_then(NonZeroU16::new)?;
        self.numbers.insert(ip, number);
        Some(number)
    }

    /// Returns the address with this number.
    pub(super) fn get(&self, number: AddressNumber) -> Option<IpAddr> {
        self.by_number.get(usize::from(number.get()) - 1).copied()
    }

    /// Returns whether an address is in this network namespace.
    pub(super) fn contains(&self, ip: &IpAddr) -> bool {
        ip.is_loopback() || self.numbers.contains_key(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learned_addresses_keep_their_numbers() {
        let mut addresses = HostAddresses::default();
        let ip = |n: u16| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
        let first = addresses.learn(ip(0)).unwrap();
        let many = u16::try_from(MAX_ADDRESSES).unwrap();
        (1..many).for_each(|n| assert!(addresses.learn(ip(n)).is_some(), "{n}"));
        assert_eq!(addresses.learn(ip(many)), None, "there is a limit");
        assert_eq!((addresses.learn(ip(0)), addresses.get(first)), (Some(first), Some(ip(0))));
        assert!(addresses.contains(&ip(7)) && !addresses.contains(&ip(many)));
        assert!(addresses.contains(&[127, 3, 4, 5].into()), "loopback needs no learning");
    }
}
