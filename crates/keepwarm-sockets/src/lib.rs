//! keepwarm-sockets
