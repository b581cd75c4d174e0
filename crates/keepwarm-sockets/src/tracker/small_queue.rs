//! A queue that hardly ever holds more than one.
//!
//! Owns no memory beside itself until it does: one stands for each socket that dies.

use std::collections::VecDeque;

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
    pub(super) fn push_back(&mut self, one: T) {
        if self.first.is_none() {
            self.first = Some(one);
        } else {
            self.more.push_back(one);
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        std::mem::replace(&mut self.first, self.more.pop_front())
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub(super) fn back(&self) -> Option<&T> {
        self.more.back().or(self.first.as_ref())
    }

    /// The one, if there is just one.
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
    fn what_came_first_goes_first() {
        let mut line = SmallQueue::default();
        assert!(line.is_empty() && line.pop_front().is_none());
        line.push_back(1);
        assert_eq!((line.only(), line.front(), line.back()), (Some(&1), Some(&1), Some(&1)));
        line.push_back(2);
        line.push_back(3);
        assert_eq!((line.only(), line.front(), line.back()), (None, Some(&1), Some(&3)));
        assert_eq!(line.iter_mut().rev().map(|one| *one).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!((line.pop_front(), line.pop_front()), (Some(1), Some(2)));
        line.push_back(4);
        assert_eq!(
            (line.pop_front(), line.pop_front(), line.pop_front()),
            (Some(3), Some(4), None)
        );
    }
}
