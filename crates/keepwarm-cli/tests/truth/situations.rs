//! All situations, by what they try.

mod closes;
mod others;
mod requests;
mod silence;

use crate::situation::Situation;

/// One of them says close; the packets do not say which.
const CHURN: &[&str] = &["D1", "D6"];
const HEALTHY: &[&str] = &["healthy", "D12"];
const NOT_SHARED: &[&str] = &["healthy", "D1", "D6", "D7", "D11"];
const SERVE: &str = "exec $PY $P/server.py";

pub(crate) fn all() -> impl Iterator<Item = &'static Situation> {
    let files = [requests::ALL, closes::ALL, silence::ALL, others::ALL];
    files.into_iter().flatten()
}
