//! keepwarm-testkit

pub mod http_server;

pub mod churn;
pub mod scripted;
pub mod zoo;
