//! Frames of a response that have been read and wait for their reader.

use std::collections::VecDeque;

use bytes::Bytes;
use http_body::Frame;

/// Limit on the frames that are taken out of the read buffer at once.
const MAX_FRAMES: usize = 64;

/// A queue whose first data is stored in place: most responses have no other frame, and a body is
/// moved a few times on its way to the caller.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    first: Option<Bytes>,
    #[expect(clippy::box_collection, reason = "one word, in a struct that is moved")]
    more: Option<Box<VecDeque<Frame<Bytes>>>>,
}

impl Frames {
    pub(crate) fn push(&mut self, frame: Frame<Bytes>) {
        if !self.is_empty() || !frame.is_data() {
            self.more.get_or_insert_default().push_back(frame);
        } else if let Ok(data) = frame.into_data() {
            self.first = Some(data);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Frame<Bytes>> {
        let first = self.first.take().map(Frame::data);
        first.or_else(|| self.more.as_mut()?.pop_front())
    }

    /// Returns the bytes of all frames.
    pub(crate) fn bytes(&self) -> u64 {
        let more = self.more.iter().flat_map(|more| more.iter()).filter_map(Frame::data_ref);
        self.first.iter().chain(more).map(|data| data.len() as u64).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.as_ref().is_none_or(|more| more.is_empty())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.len() + 1 >= MAX_FRAMES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_in_their_order() {
        let mut frames = Frames::default();
        let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
        frames.push(data("one"));
        frames.push(data("three"));
        assert_eq!(frames.bytes(), 8);
        let next = |frames: &mut Frames| frames.pop().and_then(|frame| frame.into_data().ok());
        assert_eq!(next(&mut frames).as_deref(), Some(&b"one"[..]));
        frames.push(data("four"));
        frames.push(Frame::trailers(http::HeaderMap::new()));
        assert_eq!(next(&mut frames).as_deref(), Some(&b"three"[..]));
        assert_eq!(next(&mut frames).as_deref(), Some(&b"four"[..]));
        assert!(frames.pop().is_some_and(|frame| frame.is_trailers()));
        assert!(frames.is_empty() && frames.pop().is_none());
        frames.push(Frame::trailers(http::HeaderMap::new()));
        frames.push(data("late"));
        assert!(frames.pop().is_some_and(|frame| frame.is_trailers()));
        assert_eq!(next(&mut frames).as_deref(), Some(&b"late"[..]));
    }
}
