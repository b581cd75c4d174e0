//! Filter program for destroy events, in classic BPF (Documentation/networking/filter.rst).
//!
//! Owns the encoding of one condition: an event that may concern a port. Attaches nothing: see
//! `sys`.

/// Returns the program of a netlink socket that receives events. It delivers events with `port` on
/// either side, and events without a remote port, which tcp_disconnect() clears. Each instruction
/// is code, jump if true, jump if false, and operand. The ports of an event are at bytes 20 and 22,
/// after the 16 bytes of `nlmsghdr`.
///
/// ```text
/// 0  load half at 20 (local)
/// 1  equals port: to 6
/// 2  load half at 22 (remote)
/// 3  equals port: to 6
/// 4  equals 0: to 6
/// 5  deliver nothing
/// 6  deliver all
/// ```
pub(crate) fn port_filter(port: u16) -> [[u32; 4]; 7] {
    let (local, remote) = (20, 22);
    [
        [LOAD_HALF, 0, 0, local],
        [JUMP_EQUAL, 4, 0, port.into()],
        [LOAD_HALF, 0, 0, remote],
        [JUMP_EQUAL, 2, 0, port.into()],
        [JUMP_EQUAL, 1, 0, 0],
        [RETURN, 0, 0, 0],
        [RETURN, 0, 0, u32::MAX],
    ]
}

/// `BPF_LD | BPF_H | BPF_ABS`: converts from network byte order.
const LOAD_HALF: u32 = 0x28;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const JUMP_EQUAL: u32 = 0x15;
/// `BPF_RET | BPF_K`: the operand is the number of bytes that are delivered.
const RETURN: u32 = 0x06;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel does, for the three operations used; returns the number of
    /// bytes that are delivered.
    fn deliver(program: &[[u32; 4]], event: &[u8]) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let [code, yes, no, operand] = program[at];
            at += 1;
            match code {
                LOAD_HALF => {
                    let place = operand as usize;
                    word = u16::from_be_bytes([event[place], event[place + 1]]).into();
                }
                JUMP_EQUAL => at += if word == operand { yes } else { no } as usize,
                RETURN => return operand,
                other => panic!("operation {other}"),
            }
        }
    }

    #[test]
    fn only_port_and_aborts_pass() {
        let event = |local: u16, remote: u16| {
            let mut event = vec![0; 88];
            event[20..22].copy_from_slice(&local.to_be_bytes());
            event[22..24].copy_from_slice(&remote.to_be_bytes());
            event
        };
        for port in [1, 80, 8081, u16::MAX] {
            let program = port_filter(port);
            for (local, remote) in [(port, 5), (5, port), (port, port), (5, 0), (0, 0), (port, 0)] {
                assert_eq!(deliver(&program, &event(local, remote)), u32::MAX);
            }
            for (local, remote) in
                [(port ^ 6, port ^ 10), (0, port ^ 6), (port.swap_bytes() ^ 4, 7)]
            {
                assert_eq!(deliver(&program, &event(local, remote)), 0, "{local} {remote}");
            }
        }
    }
}
