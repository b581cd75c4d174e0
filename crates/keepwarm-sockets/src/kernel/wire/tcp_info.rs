//! Decoder of `struct tcp_info` (include/uapi/linux/tcp.h) by byte offsets.
//!
//! Owns the offsets. The struct has only ever grown at its end, so an offset stays valid, and a
//! struct that ends before a field comes from a kernel that does not have the field.

use super::{u32_at, u64_at};
use crate::kernel::socket::TcpInfo;

const RETRANSMITS: usize = 2;
const PROBES: usize = 3;
const OPTIONS: usize = 5;
const SEND_MSS: usize = 16;
const RECEIVE_MSS: usize = 20;
const UNACKED: usize = 24;
const LAST_DATA_SENT: usize = 44;
const LAST_DATA_RECV: usize = 52;
const LAST_ACK_RECV: usize = 56;
const RTT: usize = 68;
const TOTAL_RETRANS: usize = 100;
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
const SEGS_OUT: usize = 136;
const SEGS_IN: usize = 140;
const MIN_RTT: usize = 148;
const DATA_SEGS_IN: usize = 152;
const DATA_SEGS_OUT: usize = 156;
const DELIVERED: usize = 192;
const BYTES_SENT: usize = 200;
const BYTES_RETRANS: usize = 208;
const DSACK_DUPS: usize = 216;
const RECEIVED_OUT_OF_ORDER: usize = 224;

/// The peer acknowledges segments one by one (`TCPI_OPT_SACK`).
const SACK: u8 = 2;

/// Decodes the fields that are present; never fails.
pub(crate) fn decode(bytes: &[u8]) -> TcpInfo {
    let has_sack = bytes.get(OPTIONS).is_some_and(|options| options & SACK != 0);
    TcpInfo {
        retransmits: bytes.get(RETRANSMITS).copied(),
        probes: bytes.get(PROBES).copied(),
        send_mss: u32_at(bytes, SEND_MSS),
        receive_mss: u32_at(bytes, RECEIVE_MSS),
        unacked: u32_at(bytes, UNACKED),
        total_retrans: u32_at(bytes, TOTAL_RETRANS),
        last_data_sent_ms: u32_at(bytes, LAST_DATA_SENT),
        last_data_recv_ms: u32_at(bytes, LAST_DATA_RECV),
        last_ack_recv_ms: u32_at(bytes, LAST_ACK_RECV),
        rtt_us: u32_at(bytes, RTT),
        min_rtt_us: u32_at(bytes, MIN_RTT),
        bytes_acked: u64_at(bytes, BYTES_ACKED),
        bytes_received: u64_at(bytes, BYTES_RECEIVED),
        segs_out: u32_at(bytes, SEGS_OUT),
        segs_in: u32_at(bytes, SEGS_IN),
        data_segs_in: u32_at(bytes, DATA_SEGS_IN),
        data_segs_out: u32_at(bytes, DATA_SEGS_OUT),
        delivered: u32_at(bytes, DELIVERED).filter(|_| has_sack),
        dsack_dups: u32_at(bytes, DSACK_DUPS),
        received_out_of_order: u32_at(bytes, RECEIVED_OUT_OF_ORDER),
        bytes_sent: u64_at(bytes, BYTES_SENT),
        bytes_retrans: u64_at(bytes, BYTES_RETRANS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_struct_leaves_fields_unknown() {
        // Linux 4.6 ends after tcpi_delivery_rate, before tcpi_bytes_sent came in 4.19.
        let info = decode(&[7; 168]);
        assert_eq!(info.data_segs_out, Some(0x0707_0707));
        assert_eq!(info.bytes_sent, None);
        assert_eq!(info.bytes_retrans, None);
        assert_eq!(decode(&[]), TcpInfo::default());
    }

    #[test]
    fn every_length_is_decoded_to_its_end() {
        let known = |info: &TcpInfo| {
            [info.rtt_us.is_some(), info.bytes_acked.is_some(), info.bytes_sent.is_some()]
        };
        for length in 0..300 {
            let info = decode(&vec![1; length]);
            assert_eq!(known(&info), [length >= 72, length >= 128, length >= 208], "{length}");
        }
    }
}
