//! Netlink and inet_diag messages: bytes to values and back.
//!
//! Owns the layouts (include/uapi/linux/netlink.h, inet_diag.h, tcp.h) and nothing that touches
//! the kernel: everything here is a pure function of its input, and no input panics.

pub(crate) mod condition;
pub(crate) mod diag;
pub(crate) mod filter;
pub(crate) mod netlink;
pub(crate) mod tcp_info;
#[cfg(test)]
pub(crate) mod vectors;

use std::fmt;

/// Why bytes could not be read.
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

/// The `N` bytes at `at`, if they are there.
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

/// Netlink aligns messages and attributes to four bytes.
pub(crate) const fn align4(length: usize) -> usize {
    length.saturating_add(3) & !3
}
