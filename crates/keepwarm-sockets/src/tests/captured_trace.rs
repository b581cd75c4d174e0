//! Trace of Linux 6.18 on x86-64: one page of a CPU's ring, and the texts that describe its layout.
//!
//! The page holds: curl against Python's server, a refused connect, a close with unread data, an
//! abort by SO_LINGER 0, and a write to a peer that had closed.

pub(crate) const HEADER_PAGE: &str = include_str!("../../testdata/trace/header_page.txt");
pub(crate) const SET_STATE: &str = include_str!("../../testdata/trace/inet_sock_set_state.txt");
pub(crate) const SEND_RESET: &str = include_str!("../../testdata/trace/tcp_send_reset.txt");
pub(crate) const RECEIVE_RESET: &str = include_str!("../../testdata/trace/tcp_receive_reset.txt");
pub(crate) const PAGE: &[u8] = include_bytes!("../../testdata/trace/page.bin");
/// Number of records in the page.
pub(crate) const RECORDS: usize = 29;
/// Time of the first record in seconds, from the text form of the trace.
pub(crate) const FIRST_S: f64 = 18_316.153_251;
