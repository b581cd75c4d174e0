//! keepwarm-testkit

pub mod http_server;

pub mod churn;
pub mod closing;
pub mod dice;
pub mod kernel;
pub mod mortal;
pub mod mutate;
#[cfg(target_os = "linux")]
pub mod namespace;
#[cfg(target_os = "linux")]
pub mod sandbox;
pub mod scripted;
pub mod skipped;
#[cfg(target_os = "linux")]
pub mod wire;
pub mod zoo;
