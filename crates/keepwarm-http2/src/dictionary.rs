//! Fields that a server keeps in its table of fields (RFC 7541, 2.3.2). Owns their order, which is the same
//! on every connection of a plan, and how far a connection's server has come; the fields are the blocks'.
//!
//! An entry enters the server's table only after all entries before it. So its index depends on one
//! number, that of the entries that the server has, and once that is all of them, a block is the same
//! bytes on every stream.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::STATIC_TABLE;
use crate::table::{OVERHEAD, TABLE_SIZE};

/// Fields of all requests of a plan, in the order in which they enter a server's table. They fit into
/// the 4 KiB of a table whose owner does not choose another size.
#[derive(Debug, Default)]
pub struct Dictionary {
    /// Each in the form in which it enters a table.
    entries: Vec<Box<[u8]>>,
    size: usize,
}

impl Dictionary {
    /// Returns the place of a field, which is added if it is new; `None` if there is no room for it.
    /// `entering` is the field's form that enters a table.
    pub(crate) fn place(&mut self, entering: &[u8], name: usize, value: usize) -> Option<usize> {
        let found = self.entries.iter().position(|entry| **entry == *entering);
        if found.is_some() {
            return found;
        }
        let size = name + value + OVERHEAD;
        if self.size + size > TABLE_SIZE {
            return None;
        }
        self.size += size;
        self.entries.push(entering.into());
        Some(self.entries.len() - 1)
    }

    /// Returns the number of fields.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Entries of the dictionary that a server has in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The first ones, by number.
    First(usize),
    /// None: the server wants a smaller table, and has to be told its size.
    Refused,
    /// None, and the server was told.
    Nothing,
}

impl Kept {
    /// Returns the index by which a block refers to the entry at `place`, if the server has it.
    pub(crate) fn index(self, place: usize) -> Option<usize> {
        match self {
            // The newest has the lowest index.
            Self::First(count) if place < count => Some(STATIC_TABLE.len() + count - place),
            _ => None,
        }
    }
}
