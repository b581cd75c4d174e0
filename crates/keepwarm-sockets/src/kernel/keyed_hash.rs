//! Hash maps with a cheap keyed hash, for tables that are read several times per dying socket.
//!
//! Owns the mixing of addresses, cookies and ports. The standard library's SipHash took a fifth of
//! a watch's time. The hash is keyed by a random seed nevertheless, because peers choose addresses
//! and ports.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

pub(crate) type Map<K, V> = HashMap<K, V, Keyed>;
pub(crate) type Set<K> = HashSet<K, Keyed>;

/// Parts of a [`CookieTable`].
const PARTS: usize = 16;

/// A table by socket cookie that may have 100,000 entries.
///
/// It has parts of a sixteenth each, which grow one after the other: a table that doubles has its old memory
/// beside the new one until all is copied, and of this one only a part does.
#[derive(Debug)]
pub(crate) struct CookieTable<V> {
    parts: [Map<u64, V>; PARTS],
}

impl<V> Default for CookieTable<V> {
    fn default() -> CookieTable<V> {
        CookieTable { parts: std::array::from_fn(|_| Map::default()) }
    }
}

impl<V> CookieTable<V> {
    /// Returns the number of a cookie's part. The kernel numbers sockets one by one, so all parts have
    /// about as many.
    fn part(cookie: u64) -> usize {
        (cookie % PARTS as u64) as usize
    }

    pub(crate) fn get(&self, cookie: u64) -> Option<&V> {
        self.parts[Self::part(cookie)].get(&cookie)
    }

    pub(crate) fn get_mut(&mut self, cookie: u64) -> Option<&mut V> {
        self.parts[Self::part(cookie)].get_mut(&cookie)
    }

    pub(crate) fn get_or_insert_with(&mut self, cookie: u64, new: impl FnOnce() -> V) -> &mut V {
        self.parts[Self::part(cookie)].entry(cookie).or_insert_with(new)
    }

    pub(crate) fn remove(&mut self, cookie: u64) -> Option<V> {
        self.parts[Self::part(cookie)].remove(&cookie)
    }

    /// Keeps the entries for which `stays` returns true.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&V) -> bool) {
        self.parts.iter_mut().for_each(|part| part.retain(|_, value| stays(value)));
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(Map::len).sum()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.parts.iter().flat_map(Map::values)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.parts.iter_mut().flat_map(Map::values_mut)
    }
}

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
    fn parts_of_a_table_act_as_one() {
        let (mut table, mut plain) = (CookieTable::default(), Map::default());
        for cookie in (0..50_000_u64).map(|n| n * 7) {
            *table.get_or_insert_with(cookie, || cookie) += 1;
            plain.insert(cookie, cookie + 1);
        }
        (0..9_000).for_each(|cookie| assert_eq!(table.remove(cookie), plain.remove(&cookie)));
        table.retain(|value| value % 3 != 0);
        plain.retain(|_, value| *value % 3 != 0);
        table.values_mut().chain(plain.values_mut()).for_each(|value| *value += 1);
        assert_eq!(table.len(), plain.len());
        assert_eq!(table.values().copied().collect::<Set<_>>(), plain.values().copied().collect());
        assert!((0..350_000).all(|cookie| table.get(cookie) == plain.get(&cookie)));
        // None has more than twice its share.
        let share = table.len() / PARTS;
        assert!(table.parts.iter().all(|part| part.len() < 2 * share), "{share}");
    }

    #[test]
    fn two_tables_have_different_collisions() {
        let (one, other) = (Keyed::default(), Keyed::default());
        assert_ne!(one.hash_one(7_u64), other.hash_one(7_u64));
        assert_eq!(one.hash_one(7_u64), one.hash_one(7_u64));
    }
}
