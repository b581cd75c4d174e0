//! Frames of a response that have been read and wait for their reader.

use std::collections::VecDeque;

use bytes::Bytes;
use http_body::Frame;

/// Limit on the frames that are taken out of the read buffer at once.
const MAX_FRAMES: usize = 64;

/// A queue whose first frame is stored in place: most responses have one.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    first: Option<Frame<Bytes>>,
    more: VecDeque<Frame<Bytes>>,
}

impl Frames {
    pub(crate) fn push(&mut self, frame: Frame<Bytes>) {
        if self.first.is_none() {
            self.first = Some(frame);
        } else {
            self.more.push_back(frame);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Frame<Bytes>> {
        let frame = self.first.take()?;
        self.first = self.more.pop_front();
        Some(frame)
    }

    /// Returns the bytes of all frames.
    pub(crate) fn bytes(&self) -> u64 {
        let all = self.first.iter().chain(&self.more);
        all.map(|frame| frame.data_ref().map_or(0, |data| data.len() as u64)).sum()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.more.len() + 1 >= MAX_FRAMES
    }
}
