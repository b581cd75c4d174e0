//! The kernel's filter language for dumps, `struct inet_diag_bc_op` (include/uapi/linux/inet_diag.h).
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

fn push(code: &mut Vec<u8>, operation: u8, yes: u8, no: u16) {
    code.push(operation);
    code.push(yes);
    code.extend_from_slice(&no.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::u16_at;

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
