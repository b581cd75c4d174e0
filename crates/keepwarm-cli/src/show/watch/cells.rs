//! Cells of a watch's tables: one value of a record as a few characters.

use crate::show::numbers::thousands;
use keepwarm_record::watch::{
    DestinationRecord, NamespaceRecord, OwnerRecord, PerConnection, PortsRecord,
};

use crate::show::printable;

/// The cell of a value that is not there, or of a zero that says nothing.
const NOTHING: &str = "-";
/// The cell of a value that the system does not report.
const UNKNOWN: &str = "?";

/// The service's address, and the network namespace where several are watched.
pub(super) fn name(one: &DestinationRecord) -> String {
    let name = address(one);
    match &one.network_namespace {
        Some(NamespaceRecord { name: Some(of), .. }) => format!("{name} in {}", printable(of)),
        Some(NamespaceRecord { inode, .. }) => format!("{name} in {inode}"),
        None => name,
    }
}

fn address(one: &DestinationRecord) -> String {
    match one.remote {
        Some(service) if service.port() == 0 => format!("{} (port not known)", service.ip()),
        Some(service) => match &one.remote_name {
            // Each host has that name for its own addresses.
            Some(name) if !service.ip().is_loopback() => format!("{service} {}", printable(name)),
            _ => service.to_string(),
        },
        None if one.folded_at_least => format!("at least {} others", thousands(one.folded)),
        None => format!("{} others", thousands(one.folded)),
    }
}

/// The service's address and our side, as sentences name it.
pub(super) fn name_and_side(one: &DestinationRecord) -> String {
    format!("{} ({})", name(one), one.side.as_str())
}

/// A count of which zero says nothing.
pub(super) fn count(count: u64) -> String {
    if count == 0 { NOTHING.to_owned() } else { thousands(count) }
}

/// A count that the system may not report.
pub(super) fn known(count: Option<u64>) -> String {
    count.map_or_else(|| UNKNOWN.to_owned(), thousands)
}

/// A count a second.
pub(super) fn rate(count: u64, seconds: f64) -> String {
    let rate = count as f64 / seconds.max(1e-3);
    if rate >= 10.0 || count == 0 { thousands(rate.round() as u64) } else { format!("{rate:.1}") }
}

/// The median, and the maximum where it differs.
pub(super) fn requests(requests: &PerConnection) -> String {
    match (requests.p50, requests.max) {
        (Some(p50), Some(max)) if p50 == max => thousands(p50.into()),
        (Some(p50), Some(max)) => format!("{}..{}", thousands(p50.into()), thousands(max.into())),
        _ => NOTHING.to_owned(),
    }
}

/// Milliseconds.
pub(super) fn time(ms: Option<u32>) -> String {
    match ms {
        None => NOTHING.to_owned(),
        Some(ms) if ms < 1000 => format!("{ms} ms"),
        Some(ms) => format!("{:.1} s", f64::from(ms) / 1000.0),
    }
}

/// Microseconds, in milliseconds: on loopback a few thousandths, which are not none.
pub(super) fn round_trip(us: u32) -> String {
    let ms = f64::from(us) / 1_000.0;
    match us {
        0..10 => format!("{ms:.3} ms"),
        10..95 => format!("{ms:.2} ms"),
        95..9_950 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

/// The least round trip and the median, where they differ.
pub(super) fn round_trips(one: &DestinationRecord) -> String {
    let Some(rtt) = one.path.map(|path| path.rtt_us) else { return NOTHING.to_owned() };
    match (rtt.least.map(round_trip), rtt.p50.map(round_trip)) {
        (Some(least), Some(median)) if least != median => {
            format!("{}..{median}", least.trim_end_matches(" ms"))
        }
        (_, Some(one)) | (Some(one), None) => one,
        (None, None) => NOTHING.to_owned(),
    }
}

/// Segments that were sent again.
pub(super) fn retransmits(one: &DestinationRecord) -> String {
    one.path.map_or_else(|| NOTHING.to_owned(), |path| count(path.retransmits))
}

/// Local ports taken.
pub(super) fn ports(one: &DestinationRecord) -> String {
    one.ports.map_or_else(|| NOTHING.to_owned(), |ports| thousands(ports.used))
}

/// The time until half of the local ports are taken.
pub(super) fn cliff(one: &DestinationRecord) -> String {
    match one.ports {
        Some(ports) if ports.used >= ports.range => "no port".to_owned(),
        Some(ports) if ports.used.saturating_mul(2) >= ports.range => "past".to_owned(),
        Some(PortsRecord { cliff_in_s: Some(seconds), .. }) => format!("{seconds} s"),
        _ => NOTHING.to_owned(),
    }
}

/// The main owner, and its share where that is not all.
pub(super) fn owner(one: &DestinationRecord) -> String {
    let Some(owner) = one.owners.first() else { return NOTHING.to_owned() };
    let name = printable(owner.process.as_deref().unwrap_or(UNKNOWN));
    // Several processes of one name are the workers of one program, or one process per connection.
    let namesakes: Vec<&OwnerRecord> =
        one.owners.iter().filter(|other| other.process == owner.process).collect();
    let (mut text, share) = if namesakes.len() > 1 && owner.process.is_some() {
        let share = namesakes.iter().map(|one| one.share).sum::<f64>();
        (format!("{name} ({} processes)", namesakes.len()), share)
    } else {
        (format!("{name}[{}]", owner.pid), owner.share)
    };
    if share < 0.995 {
        text.push_str(&format!(" {:.0} %", share * 100.0));
    }
    if let Some(place) = place(owner) {
        text.push_str(&format!(" {}", printable(&place)));
    }
    text
}

/// The pod and container, or the unit, of an owner; not that of a unit which is named as the process.
fn place(owner: &OwnerRecord) -> Option<String> {
    let OwnerRecord { namespace, pod, container, unit, .. } = owner;
    let pod = pod.as_ref().map(|pod| match namespace {
        Some(namespace) => format!("{namespace}/{pod}"),
        None => pod.clone(),
    });
    match (pod, container) {
        (Some(pod), Some(container)) => Some(format!("{pod}/{container}")),
        (Some(pod), None) => Some(pod),
        (None, Some(container)) => Some(container.clone()),
        (None, None) => unit.clone().filter(|unit| {
            let stem = unit.split(['.', '@']).next();
            stem != owner.process.as_deref()
        }),
    }
}
