//! The record of a watch: `keepwarm.watch/2`.
