//! Netlink and inet_diag messages: bytes to values and back.
//!
//! Owns the layouts (include/uapi/linux/netlink.h, inet_diag.h, tcp.h). Touches no kernel: all of
//! it is pure functions of their input, and no input makes them panic.

pub(crate) mod diag;
pub(crate) mod dump_filter;
pub(crate) mod event_filter;
pub(crate) mod netlink;
pub(crate) mod tcp_info;

use std::fmt;

/// Reasons why bytes could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// `what` needs `need` bytes and there were `have`.
    Truncated { what: &'static str, need: usize, have: usize },
    /// `what` has a value that this code does not know.
    Unknown { what: &'static str, value: u32 },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated { what, need, have } => {
                write!(f, "{what} is cut short: {have} of {need} bytes")
            }
            DecodeError::Unknown { what, value } => write!(f, "{what} {value} is unknown"),
        }
    }
}

/// Returns the `N` bytes at `at`, or `None` if `bytes` is too short.
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_ne_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes_at(bytes, at).map(u64::from_ne_bytes)
}

/// Rounds up to four bytes, to which netlink aligns messages and attributes.
pub(crate) const fn align4(length: usize) -> usize {
    length.saturating_add(3) & !3
}
