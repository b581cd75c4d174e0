//! The code of RFC 7541, appendix B, read only. The code is canonical: the lengths alone give it.
//! Owns the lengths and the decoding; a peer decides which strings use it.

use alloc::vec::Vec;

/// Length in bits of the code of each byte, and of the end of a string (256).
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const LONGEST: usize = 30;
const END: u16 = 256;

/// The code in the order of its values.
struct Table {
    /// The symbols, shorter codes first, then by value.
    symbols: [u16; 257],
    /// The first code of each length.
    first: [u32; LONGEST + 1],
    /// The number of codes of each length.
    count: [u16; LONGEST + 1],
    /// Index in `symbols` of the first code of each length.
    place: [u16; LONGEST + 1],
}

static TABLE: Table = table();

const fn table() -> Table {
    let mut table = Table {
        symbols: [0; 257],
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        place: [0; LONGEST + 1],
    };
    let (mut length, mut code, mut place) = (1, 0, 0);
    while length <= LONGEST {
        code <<= 1;
        table.first[length] = code;
        table.place[length] = place;
        let mut symbol: u16 = 0;
        while symbol <= END {
            if LENGTHS[symbol as usize] as usize == length {
                table.symbols[place as usize] = symbol;
                table.count[length] += 1;
                place += 1;
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    table
}

/// Appends the decoded bytes of `text` to `out`, but not more than `limit` of them. Returns `None`
/// for a string that is no encoding (RFC 7541, 5.2), or a longer one.
pub(crate) fn decode(text: &[u8], limit: usize, out: &mut Vec<u8>) -> Option<()> {
    let (mut code, mut length, mut decoded) = (0_u32, 0_usize, 0_usize);
    for byte in text {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            let offset = code.wrapping_sub(TABLE.first[length]);
            if offset < u32::from(TABLE.count[length]) {
                let at = usize::from(TABLE.place[length]) + usize::try_from(offset).ok()?;
                let symbol = u8::try_from(TABLE.symbols[at]).ok()?;
                if decoded == limit {
                    return None;
                }
                decoded += 1;
                out.push(symbol);
                (code, length) = (0, 0);
            } else if length == LONGEST {
                return None;
            }
        }
    }
    // The remaining bits are padding: fewer than eight, all of them ones.
    (length < 8 && code == (1 << length) - 1).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_rfc_7541_decode() {
        let table: [(&[u8], &str); 4] = [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (&[0x64, 0x0e, 0xff], "307"),
        ];
        for (text, expected) in table {
            let mut out = Vec::new();
            assert_eq!(decode(text, 100, &mut out), Some(()), "{expected}");
            assert_eq!(out, expected.as_bytes());
            assert_eq!(decode(text, expected.len() - 1, &mut Vec::new()), None);
        }
    }

    #[test]
    fn wrong_padding_is_refused() {
        // Eight bits of padding, padding of zeros, and the end of a string inside.
        for text in [&[0x64, 0x02, 0xff][..], &[0x18], &[0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(decode(text, 100, &mut Vec::new()), None, "{text:?}");
        }
    }
}
