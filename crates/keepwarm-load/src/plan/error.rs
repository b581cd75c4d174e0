//! The error of building a plan. Decides nothing.

use std::fmt;

/// A setting that cannot be used: its name, its value, the reason, and a remedy.
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

    /// Returns the name of the setting's method on [`PlanBuilder`](crate::PlanBuilder).
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// Returns the value that was given.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns the reason why the value cannot be used.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns a remedy.
    pub fn way_out(&self) -> &'static str {
        self.way_out
    }

    /// Returns true if the settings are valid but the host has no address: the target cannot be
    /// reached, and the plan is not wrong.
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
