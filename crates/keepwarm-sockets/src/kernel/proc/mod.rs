//! Readers of `/proc`: processes, sysctls, tables of `/proc/net`, and the machine's identity.
//!
//! Owns every path under `/proc` that is not about tracing. A file that is missing or forbidden is
//! "unknown" to the caller, not an error, unless a function says otherwise.

pub(crate) mod identity;
pub(crate) mod namespaces;
pub(crate) mod net;
pub(crate) mod owners;
pub mod process;
pub(crate) mod socket_search;
pub(crate) mod sysctl;
