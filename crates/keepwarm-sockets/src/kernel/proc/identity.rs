//! Identity of the running kernel and of the caller's network namespace.
//!
//! Owns two numbers that a record carries, so that a later reader knows which records describe the
//! same connections: only those of one boot and one namespace do.

use std::fs;
use std::io::ErrorKind;

use super::namespaces::inode;

/// Returns the id of this boot: a UUID that the kernel draws when it starts
/// (`/proc/sys/kernel/random/boot_id`, random(4)).
///
/// Containers share the id of the kernel that they run on. `None` if `/proc` is not mounted, if the
/// file may not be read, or outside Linux.
///
/// ```
/// if let Some(boot) = keepwarm_sockets::boot_id() {
///     assert_eq!(boot.len(), 36);
/// }
/// ```
pub fn boot_id() -> Option<String> {
    parse_uuid(&fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?)
}

/// Returns the inode of the network namespace of the calling thread
/// (`/proc/thread-self/ns/net`, namespaces(7)), as `ls -i` and `lsns` print it.
///
/// The inode names one namespace among those that exist on this kernel at the same time; the number
/// of a namespace that has ended may be given to a new one. Threads of one process may be in
/// different namespaces, so a caller that watches from another thread asks there. `None` if `/proc`
/// is not mounted, or outside Linux.
pub fn network_namespace() -> Option<u64> {
    let link = match fs::read_link("/proc/thread-self/ns/net") {
        // Linux before 3.17 has no thread-self.
        Err(error) if error.kind() == ErrorKind::NotFound => fs::read_link("/proc/self/ns/net"),
        link => link,
    };
    inode(link.ok()?.to_str()?)
}

/// Reads `f81d4fae-7dec-11d0-a765-00a0c91e6bf6` and a line feed.
pub(crate) fn parse_uuid(text: &str) -> Option<String> {
    let text = text.trim_end();
    let is_uuid = text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    is_uuid.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;
    use keepwarm_testkit::mutate;

    use super::*;

    const BOOT: &str = "5e3fd5c8-ba1d-4f3c-8c4e-2f6ae2b8a7d1\n";

    #[test]
    fn only_a_uuid_is_a_boot_id() {
        assert_eq!(parse_uuid(BOOT).as_deref(), Some(BOOT.trim_end()));
        for other in ["", "\n", "5e3fd5c8", "5e3fd5c8-ba1d-4f3c-8c4e-2f6ae2b8a7d1-", "unknown"] {
            assert_eq!(parse_uuid(other), None, "{other:?}");
        }
        assert_eq!(parse_uuid(&BOOT.replace('-', "0")), None);
    }

    #[test]
    fn only_a_net_link_names_a_namespace() {
        assert_eq!(inode("net:[4026531840]"), Some(4_026_531_840));
        for other in ["pid:[4026531836]", "net:[]", "net:[-1]", "net:[1", "/proc/1/ns/net", ""] {
            assert_eq!(inode(other), None, "{other:?}");
        }
    }

    #[test]
    fn hostile_files_invent_no_id() {
        let mut dice = Dice::new(1);
        for _ in 0..20_000 {
            let text = mutate::text(&mut dice, BOOT);
            assert!(parse_uuid(&text).is_none_or(|id| text.starts_with(&id)), "{text:?}");
            let link = mutate::text(&mut dice, "net:[4026531840]");
            if let Some(found) = inode(&link) {
                let digits = link.trim_matches(|c: char| !c.is_ascii_digit());
                assert_eq!(digits.parse(), Ok(found), "{link:?}");
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn threads_share_both_ids() {
        let here = (boot_id(), network_namespace());
        assert!(here.0.is_some() && here.1.is_some(), "{here:?}");
        let there = std::thread::spawn(|| (boot_id(), network_namespace())).join().unwrap();
        assert_eq!(there, here);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_new_namespace_differs() {
        use keepwarm_testkit::namespace::Namespace;
        use keepwarm_testkit::skipped;
        let namespace = match Namespace::make() {
            Ok(namespace) => namespace,
            Err(error) => return skipped::because(&format!("a network namespace: {error}")),
        };
        let outside = network_namespace();
        let inside = namespace.inside(|| Ok(network_namespace())).unwrap();
        assert!(inside.is_some() && inside != outside, "{inside:?} in {outside:?}");
        assert_eq!(network_namespace(), outside, "the thread is back");
    }
}
