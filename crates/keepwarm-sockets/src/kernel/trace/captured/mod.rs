//! What Linux 6.18 on x86-64 wrote: one page of a CPU's ring, and the texts that say how to read it.
//!
//! Within it: curl against Python's server, a refused connect, a close with unread data, an abort
//! by SO_LINGER 0, and a write to a peer that had closed.

pub(crate) const HEADER_PAGE: &str = include_str!("header_page.txt");
pub(crate) const SET_STATE: &str = include_str!("inet_sock_set_state.txt");
pub(crate) const SEND_RESET: &str = include_str!("tcp_send_reset.txt");
pub(crate) const RECEIVE_RESET: &str = include_str!("tcp_receive_reset.txt");
pub(crate) const PAGE: &[u8] = include_bytes!("page.bin");
/// Records in the page.
pub(crate) const RECORDS: usize = 29;
/// When the first was written, as the text form of the trace said.
pub(crate) const FIRST_S: f64 = 18_316.153_251;
