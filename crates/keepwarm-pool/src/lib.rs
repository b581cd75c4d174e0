//! keepwarm-pool
