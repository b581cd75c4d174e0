//! The machine that a record was made on.
//!
//! Owns the type that crosses the file. The tool fills it.

use serde::{Deserialize, Serialize};

/// Facts about a machine with which a reader decides later whether two records can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The version of the tool.
    pub version: String,
    /// The operating system, as Rust names it (`linux`).
    pub os: String,
    /// The processor's architecture, as Rust names it (`x86_64`).
    pub architecture: String,
    /// The kernel's release; `None` where the kernel does not say.
    pub kernel: Option<String>,
    /// The processor's model; `None` where the kernel does not say.
    pub processor: Option<String>,
    /// Cores that the process may use.
    pub cores: Option<u64>,
    /// The id of the kernel's boot (/proc/sys/kernel/random/boot_id): records with the same id were
    /// made on one machine, with one clock. `None` where it is not known.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// The inode of the network namespace (/proc/thread-self/ns/net): records of one boot with the
    /// same inode are about the same sockets. `None` where it is not known.
    #[serde(default)]
    pub network_namespace: Option<u64>,
}
