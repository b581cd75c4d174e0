//! Hash maps with a cheap keyed hash, for tables that are read several times per dying socket.
//!
//! Owns the mixing of addresses, cookies and ports. The standard library's SipHash took a fifth of
//! a watch's time. The hash is keyed by a random seed nevertheless, because peers choose addresses
//! and ports.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

pub(crate) type Map<K, V> = HashMap<K, V, Keyed>;
pub(crate) type Set<K> = HashSet<K, Keyed>;

/// Builder of hashers that start from the seed of one table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyed(u64);

impl Default for Keyed {
    fn default() -> Keyed {
        // RandomState gets its keys from the operating system once per thread, and changes them for
        // each instance.
        Keyed(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding(self.0)
    }
}

/// Hasher that multiplies each word into 128 bits and folds the halves together.
#[derive(Debug)]
pub(crate) struct Folding(u64);

/// Odd number whose bits look random: the fraction of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(u128::from(FACTOR));
        // The addition keeps the state from becoming zero when a word equals it.
        self.0 = ((product as u64) ^ (product >> 64) as u64).wrapping_add(FACTOR.rotate_left(17));
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_u16(&mut self, n: u16) {
        self.write_u64(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn neighbouring_ports_spread_over_a_table() {
        let keyed = Keyed::default();
        let server = SocketAddr::from(([127, 0, 0, 1], 8081));
        for bits in [0, 57] {
            // A table uses the low bits for the bucket and compares the topmost seven first.
            let mut places = vec![0_u32; 128];
            for port in 32_768..32_768 + 12_800_u16 {
                let client = SocketAddr::from(([127, 0, 0, 1], port));
                places[(keyed.hash_one((server, client)) >> bits) as usize % 128] += 1;
            }
            let (least, most) = (places.iter().min(), places.iter().max());
            assert!(least > Some(&50) && most < Some(&170), "bits {bits}: {least:?} to {most:?}");
        }
    }

    #[test]
    fn two_tables_have_different_collisions() {
        let (one, other) = (Keyed::default(), Keyed::default());
        assert_ne!(one.hash_one(7_u64), other.hash_one(7_u64));
        assert_eq!(one.hash_one(7_u64), one.hash_one(7_u64));
    }
}
