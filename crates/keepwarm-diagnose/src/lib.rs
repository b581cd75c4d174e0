//! keepwarm-diagnose
