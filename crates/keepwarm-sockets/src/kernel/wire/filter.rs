//! The kernel's filter languages: for dumps `struct inet_diag_bc_op` (include/uapi/linux/inet_diag.h),
//! for events classic BPF (Documentation/networking/filter.rst).
//!
//! Owns the encoding of the one condition a state mask and the request's own ports cannot say:
//! this port on either end.

const S_EQ: u8 = 11;
const D_EQ: u8 = 12;
const JMP: u8 = 1;

/// `sport == port or dport == port`, 20 bytes.
///
/// A condition jumps `yes` bytes ahead when it holds and `no` when it does not. Running exactly to
/// the end accepts; four bytes further rejects (`inet_diag_bc_run`, net/ipv4/inet_diag.c). S_EQ
/// and D_EQ exist since Linux 4.16 and are followed by an operand that holds the port.
///
/// ```text
///  0  S_EQ yes 8 (to the jump)  no 12 (to D_EQ)
///  4  port
///  8  JMP 12 (to 20, the end: accept)
/// 12  D_EQ yes 8 (to 20: accept) no 12 (to 24: reject)
/// 16  port
/// ```
pub(crate) fn either_port(port: u16) -> Vec<u8> {
    let mut code = Vec::with_capacity(20);
    push(&mut code, S_EQ, 8, 12);
    push(&mut code, 0, 0, port);
    push(&mut code, JMP, 4, 12);
    push(&mut code, D_EQ, 8, 12);
    push(&mut code, 0, 0, port);
    code
}

/// The program of a socket that receives events: those with `port` at an end, and those without a
/// remote port, which tcp_disconnect() clears. Each instruction is code, jumps if so and if not,
/// and operand. A port stands at byte 20 and 22 of an event, behind its 16 of `nlmsghdr`.
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

/// `BPF_LD | BPF_H | BPF_ABS`: from network byte order.
const LOAD_HALF: u32 = 0x28;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const JUMP_EQUAL: u32 = 0x15;
/// `BPF_RET | BPF_K`: as many bytes of the message are delivered.
const RETURN: u32 = 0x06;

fn push(code: &mut Vec<u8>, operation: u8, yes: u8, no: u16) {
    code.push(operation);
    code.push(yes);
    code.extend_from_slice(&no.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::wire::u16_at;

    /// The kernel's interpreter, retold for the three operations used.
    fn run(code: &[u8], sport: u16, dport: u16) -> bool {
        let mut at = 0;
        while at < code.len() {
            let (yes, no) = (usize::from(code[at + 1]), usize::from(u16_at(code, at + 2).unwrap()));
            let operand = || u16_at(code, at + 6).unwrap();
            let holds = match code[at] {
                S_EQ => sport == operand(),
                D_EQ => dport == operand(),
                JMP => false,
                other => panic!("operation {other}"),
            };
            at += if holds { yes } else { no };
        }
        at == code.len()
    }

    /// Classic BPF, retold for the three operations used: what of an event is delivered.
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
    fn events_of_the_port_and_of_aborts_are_delivered_and_no_others() {
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

    #[test]
    fn either_end_is_accepted_and_nothing_else() {
        for port in [1, 80, 8081, u16::MAX] {
            let code = either_port(port);
            assert_eq!(code.len(), 20);
            assert!(run(&code, port, 5) && run(&code, 5, port) && run(&code, port, port));
            assert!(!run(&code, port ^ 1, port ^ 2));
        }
    }
}
