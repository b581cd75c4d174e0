//! keepwarm-load
