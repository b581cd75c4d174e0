//! Why a plan cannot be run. Owns the one error of plan building; decides nothing.

use std::fmt;

/// A setting that cannot be used: which one, its value, why not, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    setting: &'static str,
    value: String,
    reason: String,
    way_out: &'static str,
    unresolved: bool,
}

impl PlanError {
    pub(crate) fn new(
        setting: &'static str,
        value: impl Into<String>,
        reason: impl Into<String>,
        way_out: &'static str,
    ) -> Self {
        Self { setting, value: value.into(), reason: reason.into(), way_out, unresolved: false }
    }

    pub(crate) fn unresolved(mut self) -> Self {
        self.unresolved = true;
        self
    }

    /// The setting, by the name of its method on [`PlanBuilder`](crate::PlanBuilder).
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// The value that was given.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Why it cannot be used.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What to do instead.
    pub fn way_out(&self) -> &'static str {
        self.way_out
    }

    /// Whether the settings are fine but the host has no address: the target cannot be reached,
    /// rather than the plan being wrong.
    pub fn is_unresolved(&self) -> bool {
        self.unresolved
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, value, reason, way_out, .. } = self;
        write!(f, "{setting} {value:?}: {reason}; {way_out}")
    }
}

impl std::error::Error for PlanError {}
