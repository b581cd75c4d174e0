//! HTTP/2 that is not built in: types without a value, so that the rest of the crate reads the same.
#![cfg_attr(
    not(all(feature = "http2", feature = "tls")),
    allow(
        dead_code,
        reason = "without one of the features no connection is shared, or none agreed on"
    )
)]

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use keepwarm_http1::ResponseHead;
use keepwarm_pool::{CloseReason, Closer};

use super::body::Body;
use super::interim::InterimListener;
use super::peer::PeerFacts;
use super::stream::Stream;
use crate::error::{BoxError, Error, Result, Stage};

pub(crate) trait Listener: Send + Sync {
    fn resized(&self, streams: u32);
    fn draining(&self, reason: CloseReason, closer: Closer);
    fn calm(&self);
    fn suspect(&self);
    fn trusted(&self);
    fn ended(&self, reason: CloseReason, closer: Closer);
}

#[derive(Debug)]
pub(crate) enum Http2 {}

#[derive(Debug)]
pub(crate) enum Http2Stream {}

pub(crate) struct Started {
    pub(crate) connection: Arc<Http2>,
    pub(crate) driver: std::future::Ready<()>,
    pub(crate) streams: u32,
}

#[derive(Debug)]
pub(crate) enum StreamFailure {
    Unsent,
    Unprocessed,
    Blamed(BoxError),
    NeedsHttp1,
    Cut(BoxError),
    Stream(BoxError),
    HeadTooLarge,
    Connection(BoxError),
    Body(BoxError),
}

pub(crate) fn header_list_size(_: &http::Request<()>) -> usize {
    0
}

pub(crate) fn start(_: Stream, _: PeerFacts, _: u32) -> std::future::Ready<Result<Started>> {
    let words = "HTTP/2 is not built in (feature http2)";
    std::future::ready(Err(Error::failed(Stage::Connect, words)))
}

impl Http2 {
    pub(crate) fn id(&self) -> u64 {
        match *self {}
    }
    pub(crate) fn peer(&self) -> &PeerFacts {
        match *self {}
    }
    pub(crate) fn heard(&self) -> u64 {
        match *self {}
    }
    pub(crate) fn max_header_list(&self) -> u32 {
        match *self {}
    }
    pub(crate) fn attach(&self, _: Box<dyn Listener>) {
        match *self {}
    }
    pub(crate) fn close(&self) {
        match *self {}
    }
    pub(crate) fn give_up(&self, _: Box<dyn Any + Send>) {
        match *self {}
    }
    pub(crate) fn doubt(&self) {
        match *self {}
    }
    pub(crate) fn send(
        self: &Arc<Self>,
        _: http::Request<()>,
        _: Body,
        _: bool,
        _: bool,
    ) -> Result<Http2Stream, Body> {
        match **self {}
    }
}

impl Http2Stream {
    pub(crate) fn http2(&self) -> &Arc<Http2> {
        match *self {}
    }
    pub(crate) fn progress(&self) -> u64 {
        match *self {}
    }
    pub(crate) fn written(&self) -> u64 {
        match *self {}
    }
    pub(crate) fn length_left(&self) -> Option<u64> {
        match *self {}
    }
    pub(crate) fn is_uploading(&self) -> bool {
        match *self {}
    }
    pub(crate) fn is_refused(&self) -> bool {
        match *self {}
    }
    pub(crate) fn is_unsent(&self) -> bool {
        match *self {}
    }
    pub(crate) fn waits_for_peer(&self) -> bool {
        match *self {}
    }
    pub(crate) fn response_is_complete(&self) -> bool {
        match *self {}
    }
    pub(crate) fn release(&mut self) {
        match *self {}
    }
    pub(crate) fn continue_upload(&mut self) {
        match *self {}
    }
    pub(crate) fn take_untouched(&mut self) -> Option<Body> {
        match *self {}
    }
    pub(crate) fn stop_upload(&mut self) {
        match *self {}
    }
    pub(crate) fn poll_upload(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamFailure>> {
        match *self {}
    }
    pub(crate) fn poll_head(
        &mut self,
        _: &mut Option<ResponseHead>,
        _: Option<&InterimListener>,
        _: bool,
        _: &mut Context<'_>,
    ) -> Poll<Result<(), StreamFailure>> {
        match *self {}
    }
    pub(crate) fn poll_frame(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamFailure>>> {
        match *self {}
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {}
}
