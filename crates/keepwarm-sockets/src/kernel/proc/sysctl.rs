//! Settings of the TCP stack under `/proc/sys/net/ipv4`; Linux uses them for IPv6 too.
//!
//! Owns the range of local ports that connect(2) chooses from, and the reuse of TIME_WAITs.
//! Forecasts nothing.

use std::fs;

use crate::error::{Error, Operation};

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const REUSE: &str = "/proc/sys/net/ipv4/tcp_tw_reuse";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Ephemeral ports of a network namespace: `net.ipv4.ip_local_port_range` less
/// `net.ipv4.ip_local_reserved_ports`. Linux uses the same ports for IPv6.
///
/// ```
/// use keepwarm_sockets::EphemeralPorts;
/// let ports = EphemeralPorts { low: 32768, high: 60999, reserved: 2 };
/// assert_eq!(ports.size(), 28_230);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EphemeralPorts {
    /// The lowest port.
    pub low: u16,
    /// The highest port.
    pub high: u16,
    /// Number of reserved ports from `low` to `high`, both included.
    pub reserved: u32,
}

impl EphemeralPorts {
    /// Returns the number of connections that can exist at once from one source address to one
    /// destination address and port.
    pub fn size(&self) -> u32 {
        (u32::from(self.high) + 1).saturating_sub(u32::from(self.low)).saturating_sub(self.reserved)
    }
}

/// Reads the ephemeral ports of this network namespace.
///
/// # Errors
/// When /proc is not mounted, or when its text is not what Linux writes. A list of reserved ports
/// that cannot be read counts as empty.
pub fn ephemeral_ports() -> Result<EphemeralPorts, Error> {
    let operation = Operation::ReadProc(RANGE);
    if cfg!(not(target_os = "linux")) {
        return Err(Error::unsupported(operation, "this system is not Linux"));
    }
    let range = fs::read_to_string(RANGE).map_err(|error| Error::io(operation, &error))?;
    let reserved = fs::read_to_string(RESERVED).unwrap_or_default();
    parse_ports(&range, &reserved).ok_or_else(|| Error::malformed(operation, range))
}

/// When connect(2) may take over a local port that its own TIME_WAIT holds
/// (`net.ipv4.tcp_tw_reuse`; `tcp_twsk_unique`, net/ipv4/tcp_ipv4.c). A port is taken over after
/// one second at the earliest, and only if both sides send TCP timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeWaitReuse {
    /// Never (0).
    Never,
    /// On loopback only (2, the default since Linux 4.19).
    OnLoopback,
    /// Towards every host (1).
    Always,
}

/// Reads [`TimeWaitReuse`] of this network namespace; `None` if /proc is not mounted, if the
/// setting may not be read, or if its value is not one of the three.
pub fn time_wait_reuse() -> Option<TimeWaitReuse> {
    parse_reuse(&fs::read_to_string(REUSE).ok()?)
}

pub(crate) fn parse_reuse(setting: &str) -> Option<TimeWaitReuse> {
    match setting.trim() {
        "0" => Some(TimeWaitReuse::Never),
        "1" => Some(TimeWaitReuse::Always),
        "2" => Some(TimeWaitReuse::OnLoopback),
        _ => None,
    }
}

/// Reads `"low high"` and `"8080,9000-9010"`.
pub(crate) fn parse_ports(range: &str, reserved: &str) -> Option<EphemeralPorts> {
    let mut bounds = range.split_whitespace().map(str::parse::<u16>);
    let (low, high) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    if low > high {
        return None;
    }
    let mut count = 0_u32;
    for item in reserved.trim().split(',').filter(|item| !item.is_empty()) {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let first = first.trim().parse::<u16>().ok()?.max(low);
        let last = last.trim().parse::<u16>().ok()?.min(high);
        let ports = (u32::from(last) + 1).saturating_sub(u32::from(first));
        count = ports.saturating_add(count);
    }
    Some(EphemeralPorts { low, high, reserved: count })
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;
    use keepwarm_testkit::mutate;

    use super::*;

    #[test]
    fn the_default_range_has_28232_ports() {
        let ports = parse_ports("32768\t60999\n", "\n").unwrap();
        assert_eq!(ports, EphemeralPorts { low: 32768, high: 60999, reserved: 0 });
        assert_eq!(ports.size(), 28_232);
    }

    #[test]
    fn only_reserved_ports_inside_the_range_count() {
        let size = |reserved| parse_ports("32768 60999", reserved).unwrap().size();
        assert_eq!(size("8080,9000-9010"), 28_232);
        assert_eq!(size("8080,40000"), 28_231);
        assert_eq!(size("32760-32769"), 28_230);
        assert_eq!(size("60999-65535"), 28_231);
        assert_eq!(size("1-65535"), 0);
    }

    #[test]
    fn the_whole_port_space_fits() {
        assert_eq!(parse_ports("0 65535", "").unwrap().size(), 65_536);
        assert_eq!(parse_ports("0 65535", "0-65535").unwrap().size(), 0);
    }

    #[test]
    fn nonsense_is_not_a_port_range() {
        for range in ["", "32768", "a b", "60999 32768", "1 70000"] {
            assert_eq!(parse_ports(range, ""), None, "{range:?}");
        }
        assert_eq!(parse_ports("1 2", "x"), None);
    }

    #[test]
    fn reuse_is_one_of_three_or_unknown() {
        assert_eq!(parse_reuse("0\n"), Some(TimeWaitReuse::Never));
        assert_eq!(parse_reuse("1\n"), Some(TimeWaitReuse::Always));
        assert_eq!(parse_reuse("2\n"), Some(TimeWaitReuse::OnLoopback));
        for other in ["", "3", "-1", "yes"] {
            assert_eq!(parse_reuse(other), None, "{other:?}");
        }
        assert_eq!(time_wait_reuse().is_some(), cfg!(target_os = "linux"));
    }

    #[test]
    fn hostile_settings_give_at_most_65536_ports() {
        let mut dice = Dice::new(1);
        let mut read = 0;
        for _ in 0..20_000 {
            let range = mutate::text(&mut dice, "32768\t60999\n");
            let reserved = mutate::text(&mut dice, "8080,9000-9010,40000-40100\n");
            if let Some(ports) = parse_ports(&range, &reserved) {
                assert!(ports.size() <= 65_536);
                read += 1;
            }
        }
        assert!(read > 1000, "{read}");
        // One range listed 131,072 times.
        let reserved = "0-65535,".repeat(1 << 17);
        assert_eq!(parse_ports("0 65535", &reserved).unwrap().size(), 0);
    }
}
