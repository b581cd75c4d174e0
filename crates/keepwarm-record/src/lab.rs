//! The record of a lab: `keepwarm.lab/1`.
