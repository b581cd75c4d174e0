//! keepwarm-lab
