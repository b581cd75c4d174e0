//! The record of a load: `keepwarm.load/1`.
