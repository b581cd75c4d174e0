//! keepwarm-testkit

pub mod http_server;

pub mod churn;
pub mod closing;
pub mod dice;
pub mod kernel;
pub mod scripted;
pub mod zoo;
