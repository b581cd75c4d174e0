//! A queue that rarely holds more than one item.
//!
//! Allocates nothing until it does: there is one of it for each socket that dies.

use std::collections::VecDeque;

/// A first item, and a queue for the rare others.
#[derive(Debug)]
pub(super) struct SmallQueue<T> {
    first: Option<T>,
    more: VecDeque<T>,
}

impl<T> Default for SmallQueue<T> {
    fn default() -> SmallQueue<T> {
        SmallQueue { first: None, more: VecDeque::new() }
    }
}

impl<T> SmallQueue<T> {
    pub(super) fn push_back(&mut self, item: T) {
        if self.first.is_none() {
            self.first = Some(item);
            return;
        }
        if self.more.len() == self.more.capacity() {
            // Room for four at once would make a watch that is late take four times as much.
            self.more.reserve_exact(self.more.len().max(1));
        }
        self.more.push_back(item);
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        let next = self.more.pop_front();
        if self.more.is_empty() && self.more.capacity() > 0 {
            // An empty queue is kept for others, of which hardly one needs that memory.
            self.more = VecDeque::new();
        }
        std::mem::replace(&mut self.first, next)
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub(super) fn back(&self) -> Option<&T> {
        self.more.back().or(self.first.as_ref())
    }

    /// Returns the only item; `None` if there is none, or more.
    pub(super) fn only(&self) -> Option<&T> {
        self.first.as_ref().filter(|_| self.more.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> {
        self.first.iter_mut().chain(&mut self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_leave_in_order() {
        let mut queue = SmallQueue::default();
        assert!(queue.is_empty() && queue.pop_front().is_none());
        queue.push_back(1);
        assert_eq!((queue.only(), queue.front(), queue.back()), (Some(&1), Some(&1), Some(&1)));
        queue.push_back(2);
        queue.push_back(3);
        assert_eq!((queue.only(), queue.front(), queue.back()), (None, Some(&1), Some(&3)));
        assert_eq!(queue.iter_mut().rev().map(|one| *one).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!((queue.pop_front(), queue.pop_front()), (Some(1), Some(2)));
        queue.push_back(4);
        assert_eq!(
            (queue.pop_front(), queue.pop_front(), queue.pop_front()),
            (Some(3), Some(4), None)
        );
    }
}
