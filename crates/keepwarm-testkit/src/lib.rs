//! keepwarm-testkit

pub mod churn;
