//! keepwarm-testkit
