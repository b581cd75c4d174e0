//! Memory of bursts: tables and buffers that one busy moment has made large give their memory back.
//!
//! Owns the rule when. A watch that gets no processor time for a second handles the events of that
//! second at once; without this rule it would keep the memory for that until its end.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Uses after which the most that was needed is compared with what is reserved: some ten seconds of a
/// busy watch. Odd, so that of two buffers that take turns both are compared.
const USES: u32 = 41;
/// Items for which memory is kept in any case.
const KEPT: usize = 1 << 10;

/// The most items of a table or buffer since it was compared last.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    most: usize,
    uses: u32,
    /// The most items of a table since it was shrunk. A table whose items were removed says that it has less
    /// room than that: removed items leave marks (hashbrown).
    reserved: usize,
}

impl Burst {
    /// Takes the number of items of one use. Returns the capacity to shrink to, if `capacity` is more
    /// than twice what was needed lately: buffers grow by doubling.
    pub(crate) fn handle_use(&mut self, items: usize, capacity: usize) -> Option<usize> {
        self.most = self.most.max(items);
        self.uses += 1;
        if self.uses < USES {
            return None;
        }
        let needed = self.most.max(KEPT);
        (self.most, self.uses) = (0, 0);
        (capacity > needed.saturating_mul(2)).then_some(needed)
    }

    /// Takes one use of a buffer by `items`, and shrinks it if the last uses needed much less. Its
    /// content stays.
    pub(crate) fn shrink_buffer<T>(&mut self, items: usize, buffer: &mut Vec<T>) {
        if let Some(capacity) = self.handle_use(items, buffer.capacity()) {
            buffer.shrink_to(capacity);
        }
    }

    /// Takes one use of a table by `items`, and shrinks it if the last uses needed much less. Its
    /// content stays.
    pub(crate) fn shrink_table<K: Eq + Hash, V, S: BuildHasher>(
        &mut self,
        items: usize,
        table: &mut HashMap<K, V, S>,
    ) {
        self.reserved = self.reserved.max(items).max(table.capacity());
        if let Some(capacity) = self.handle_use(items, self.reserved) {
            table.shrink_to(capacity);
            self.reserved = table.capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_one_burst_is_given_back() {
        let (mut burst, mut buffer) = (Burst::default(), Vec::<u8>::with_capacity(1 << 20));
        burst.shrink_buffer(1 << 20, &mut buffer);
        for _ in 1..USES {
            burst.shrink_buffer(3, &mut buffer);
        }
        assert_eq!(buffer.capacity(), 1 << 20, "it was needed a moment ago");
        for _ in 0..USES {
            burst.shrink_buffer(3, &mut buffer);
        }
        assert!((KEPT..4 * KEPT).contains(&buffer.capacity()), "{}", buffer.capacity());
    }

    #[test]
    fn steady_use_keeps_its_memory() {
        let (mut burst, mut table) = (Burst::default(), HashMap::<u32, u32>::new());
        (0..50_000).for_each(|n| {
            table.insert(n, n);
        });
        table.retain(|key, _| *key == 7);
        let capacity = table.capacity();
        for n in 0..10 * USES {
            burst.shrink_table(if n % 10 == 0 { 30_000 } else { 1 }, &mut table);
        }
        assert_eq!(table.capacity(), capacity);
        (0..2 * USES).for_each(|_| burst.shrink_table(1, &mut table));
        assert!(table.capacity() < 4 * KEPT && table[&7] == 7);
    }
}
