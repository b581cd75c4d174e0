//! `struct nlmsghdr` and `struct nlattr` (include/uapi/linux/netlink.h).
//!
//! Owns the walk over messages and attributes, with every length checked. Decodes no contents: see
//! `diag`.

use super::{DecodeError, align4, u16_at, u32_at};

pub(crate) const HEADER_LEN: usize = 16;
const ATTRIBUTE_HEADER_LEN: usize = 4;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;

/// Message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A message that is not a control message: its type and the bytes after the header.
    Data { kind: u16, body: &'a [u8] },
    /// The end of a dump.
    Done,
    /// A refusal by the kernel, with a positive errno; 0 is an acknowledgement.
    Error { errno: i32 },
    /// A message without effect.
    Noop,
}

/// Iterator over the messages of one datagram. Ends after the first error.
#[derive(Debug, Clone)]
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(crate) fn of(datagram: &'a [u8]) -> Messages<'a> {
        Messages { rest: datagram }
    }

    fn take(&mut self) -> Result<Message<'a>, DecodeError> {
        let datagram = std::mem::take(&mut self.rest);
        let truncated =
            |need| DecodeError::Truncated { what: "netlink message", need, have: datagram.len() };
        let length = u32_at(datagram, 0).ok_or_else(|| truncated(HEADER_LEN))? as usize;
        let kind = u16_at(datagram, 4).ok_or_else(|| truncated(HEADER_LEN))?;
        // At most the datagram and at least the header: a length of zero would loop forever.
        let body =
            datagram.get(HEADER_LEN..length).ok_or_else(|| truncated(length.max(HEADER_LEN)))?;
        self.rest = datagram.get(align4(length)..).unwrap_or_default();
        match kind {
            // A dump that failed half-way ends with the error in its NLMSG_DONE.
            NLMSG_DONE => match u32_at(body, 0).map_or(0, u32::cast_signed) {
                code if code < 0 => Ok(Message::Error { errno: code.wrapping_neg() }),
                _ => Ok(Message::Done),
            },
            NLMSG_NOOP | NLMSG_OVERRUN => Ok(Message::Noop),
            NLMSG_ERROR => {
                let code = u32_at(body, 0).ok_or(DecodeError::Truncated {
                    what: "netlink error",
                    need: 4,
                    have: body.len(),
                })?;
                Ok(Message::Error { errno: code.cast_signed().wrapping_neg() })
            }
            _ => Ok(Message::Data { kind, body }),
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.take())
    }
}

/// Iterator over the attributes after a fixed part: type and value. Ends after the first error.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Attributes<'a> {
        Attributes { rest: bytes }
    }

    fn take(&mut self) -> Result<(u16, &'a [u8]), DecodeError> {
        let bytes = std::mem::take(&mut self.rest);
        let truncated =
            |need| DecodeError::Truncated { what: "netlink attribute", need, have: bytes.len() };
        let length = usize::from(u16_at(bytes, 0).ok_or_else(|| truncated(ATTRIBUTE_HEADER_LEN))?);
        let kind = u16_at(bytes, 2).ok_or_else(|| truncated(ATTRIBUTE_HEADER_LEN))?;
        let value = bytes
            .get(ATTRIBUTE_HEADER_LEN..length)
            .ok_or_else(|| truncated(length.max(ATTRIBUTE_HEADER_LEN)))?;
        self.rest = bytes.get(align4(length)..).unwrap_or_default();
        Ok((kind, value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.take())
    }
}

/// Appends a request that is not a dump to a datagram. The reply carries its sequence number.
pub(crate) fn push_request(datagram: &mut Vec<u8>, kind: u16, sequence: u32, body: &[u8]) {
    datagram.resize(align4(datagram.len()), 0);
    let length = u32::try_from(HEADER_LEN + body.len()).unwrap_or(u32::MAX);
    datagram.extend_from_slice(&length.to_ne_bytes());
    datagram.extend_from_slice(&kind.to_ne_bytes());
    datagram.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    datagram.extend_from_slice(&sequence.to_ne_bytes());
    // Port id 0: the kernel fills it in.
    datagram.extend_from_slice(&[0; 4]);
    datagram.extend_from_slice(body);
}

/// Returns the sequence number of the first message of a datagram: the request that it answers.
pub(crate) fn sequence(datagram: &[u8]) -> Option<u32> {
    u32_at(datagram, 8)
}

/// Encodes a dump request: header, fixed part, attributes.
pub(crate) fn encode_dump(kind: u16, body: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Sequence 0: a socket has one dump under way at a time. Port id 0: the kernel fills it in.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    for (kind, value) in attributes {
        message.resize(align4(message.len()), 0);
        let length = u16::try_from(ATTRIBUTE_HEADER_LEN + value.len()).unwrap_or(u16::MAX);
        message.extend_from_slice(&length.to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(value);
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        encode_dump(kind, body, &[])
    }

    #[test]
    fn messages_of_a_datagram_keep_their_order() {
        let mut datagram = message(20, b"abcd");
        datagram.extend(message(20, b"efgh"));
        datagram.extend(message(NLMSG_DONE, &[0; 4]));
        let read: Vec<_> = Messages::of(&datagram).collect::<Result<_, _>>().unwrap();
        assert_eq!(
            read,
            [
                Message::Data { kind: 20, body: b"abcd" },
                Message::Data { kind: 20, body: b"efgh" },
                Message::Done
            ]
        );
    }

    #[test]
    fn a_refusal_carries_its_errno() {
        let datagram = message(NLMSG_ERROR, &(-13_i32).to_ne_bytes());
        assert_eq!(Messages::of(&datagram).next(), Some(Ok(Message::Error { errno: 13 })));
    }

    #[test]
    fn lengths_below_the_header_are_errors() {
        for length in 0..16_u32 {
            let mut datagram = message(20, b"abcd");
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            let read: Vec<_> = Messages::of(&datagram).collect();
            assert_eq!(read.len(), 1, "length {length}");
            assert!(read[0].is_err(), "length {length}");
        }
        for length in 0..4_u16 {
            let mut bytes = [0; 8];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            let read: Vec<_> = Attributes::of(&bytes).collect();
            assert_eq!(read.len(), 1, "attribute length {length}");
            assert!(read[0].is_err(), "attribute length {length}");
        }
    }

    #[test]
    fn attributes_are_padded_to_four_bytes() {
        let encoded = encode_dump(18, b"", &[(1, b"abc"), (2, b"defg")]);
        let read: Vec<_> =
            Attributes::of(&encoded[HEADER_LEN..]).collect::<Result<_, _>>().unwrap();
        assert_eq!(read, [(1, &b"abc"[..]), (2, &b"defg"[..])]);
    }
}
