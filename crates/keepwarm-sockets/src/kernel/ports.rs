//! How many local ports connect(2) may choose from.
//!
//! Owns three settings under /proc/sys/net/ipv4 and their arithmetic. Forecasts nothing.

use std::fs;

use crate::error::{Error, Operation};

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const REUSE: &str = "/proc/sys/net/ipv4/tcp_tw_reuse";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// The ephemeral ports of this network namespace: `net.ipv4.ip_local_port_range` less
/// `net.ipv4.ip_local_reserved_ports`. Linux uses the same for IPv6.
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
    /// How many ports between them, ends included, are reserved.
    pub reserved: u32,
}

impl EphemeralPorts {
    /// How many ports there are for one source address, destination address and destination port.
    pub fn size(&self) -> u32 {
        (u32::from(self.high) + 1).saturating_sub(u32::from(self.low)).saturating_sub(self.reserved)
    }
}

/// Reads the ephemeral ports of this network namespace.
///
/// # Errors
/// When /proc is not mounted or says something else than Linux does. Reserved ports that cannot be
/// read count as none.
pub fn ephemeral_ports() -> Result<EphemeralPorts, Error> {
    let operation = Operation::ReadProc(RANGE);
    if cfg!(not(target_os = "linux")) {
        return Err(Error::unsupported(operation, "this system is not Linux"));
    }
    let range = fs::read_to_string(RANGE).map_err(|error| Error::io(operation, &error))?;
    let reserved = fs::read_to_string(RESERVED).unwrap_or_default();
    parse(&range, &reserved).ok_or_else(|| Error::malformed(operation, range))
}

/// Whether connect(2) takes a local port from TIME_WAIT after a second towards every host, not on
/// loopback alone: `net.ipv4.tcp_tw_reuse` is 1.
pub(crate) fn reuses_time_waits() -> bool {
    fs::read_to_string(REUSE).is_ok_and(|setting| setting.trim() == "1")
}

/// `"low high"` and `"8080,9000-9010"`.
fn parse(range: &str, reserved: &str) -> Option<EphemeralPorts> {
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
        let ports = parse("32768\t60999\n", "\n").unwrap();
        assert_eq!(ports, EphemeralPorts { low: 32768, high: 60999, reserved: 0 });
        assert_eq!(ports.size(), 28_232);
    }

    #[test]
    fn only_reserved_ports_inside_the_range_count() {
        let size = |reserved| parse("32768 60999", reserved).unwrap().size();
        assert_eq!(size("8080,9000-9010"), 28_232);
        assert_eq!(size("8080,40000"), 28_231);
        assert_eq!(size("32760-32769"), 28_230);
        assert_eq!(size("60999-65535"), 28_231);
        assert_eq!(size("1-65535"), 0);
    }

    #[test]
    fn the_ends_of_the_port_space_do_not_overflow() {
        assert_eq!(parse("0 65535", "").unwrap().size(), 65_536);
        assert_eq!(parse("0 65535", "0-65535").unwrap().size(), 0);
    }

    #[test]
    fn nonsense_is_not_understood() {
        for range in ["", "32768", "a b", "60999 32768", "1 70000"] {
            assert_eq!(parse(range, ""), None, "{range:?}");
        }
        assert_eq!(parse("1 2", "x"), None);
    }

    #[test]
    fn hostile_settings_are_refused_or_have_no_more_ports_than_there_are() {
        let mut dice = Dice::new(1);
        let mut read = 0;
        for _ in 0..20_000 {
            let range = mutate::text(&mut dice, "32768\t60999\n");
            let reserved = mutate::text(&mut dice, "8080,9000-9010,40000-40100\n");
            if let Some(ports) = parse(&range, &reserved) {
                assert!(ports.size() <= 65_536);
                read += 1;
            }
        }
        assert!(read > 1000, "{read}");
        // The same ports again and again.
        let reserved = "0-65535,".repeat(1 << 17);
        assert_eq!(parse("0 65535", &reserved).unwrap().size(), 0);
    }
}
