//! Protocols other than the one asked for, recognised by the first bytes of a server or by its usual
//! port. Owns the recognition and the remedy; the engine decides that a response was none.

use std::fmt;

/// The protocol of a server that did not answer in the one asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1 without TLS, at the port of an `https://` URL.
    PlainHttp,
    /// HTTP/1.1, where HTTP/2 was asked for.
    Http1,
    /// HTTP/2 from the first byte ("prior knowledge", RFC 9113, section 3.3): often gRPC.
    Http2,
    /// TLS, at the port of an `http://` URL.
    Tls,
    /// SSH (RFC 4253, section 4.2).
    Ssh,
    /// PostgreSQL.
    PostgreSql,
    /// MySQL or MariaDB.
    MySql,
    /// Redis or Valkey.
    Redis,
    /// memcached.
    Memcached,
    /// A protocol whose server greets with a code of three digits: SMTP or FTP.
    Mail,
    /// IMAP or POP3.
    Mailbox,
    /// AMQP, the protocol of RabbitMQ.
    Amqp,
    /// NATS.
    Nats,
    /// None of these.
    Unknown,
}

impl Protocol {
    /// Recognises the first bytes that a server has sent.
    pub(crate) fn of(first: &[u8]) -> Self {
        let starts = |texts: &[&str]| texts.iter().any(|text| first.starts_with(text.as_bytes()));
        match first {
            // A record of an alert or of the handshake, version 3.x (RFC 8446, section 5.1).
            [0x15 | 0x16, 3, 0..=4, ..] => Self::Tls,
            // A SETTINGS or GOAWAY frame on stream 0 (RFC 9113, sections 4.1, 6.5 and 6.8).
            [0, _, _, 4, 0 | 1, 0, 0, 0, 0, ..] | [0, _, _, 7, 0, 0, 0, 0, 0, ..] => Self::Http2,
            // A packet of 24 bits of length, number 0: greeting of protocol 10, or an error.
            [_, _, 0, 0, 10, b'0'..=b'9', ..] | [_, _, 0, 0, 0xff, ..] => Self::MySql,
            // ErrorResponse, 32 bits of length, field S.
            [b'E', 0, 0, _, _, b'S', ..] => Self::PostgreSql,
            _ if starts(&["HTTP/1."]) => Self::PlainHttp,
            _ if starts(&["SSH-"]) => Self::Ssh,
            _ if starts(&["-ERR", "-NOAUTH", "-DENIED", "-LOADING", "+OK\r", "-WRONG"]) => {
                Self::Redis
            }
            _ if starts(&["ERROR\r", "CLIENT_ERROR"]) => Self::Memcached,
            _ if starts(&["220 ", "220-", "421 ", "554 "]) => Self::Mail,
            _ if starts(&["* OK", "* BYE", "+OK "]) => Self::Mailbox,
            _ if starts(&["AMQP"]) => Self::Amqp,
            _ if starts(&["INFO {"]) => Self::Nats,
            _ => Self::Unknown,
        }
    }

    /// Returns the protocol that usually listens on `port`, for servers that close without a byte
    /// when they are addressed in HTTP, or in TLS with `secure`.
    pub(crate) fn usual_on(port: u16, secure: bool) -> Option<Self> {
        match port {
            22 => Some(Self::Ssh),
            25 | 587 => Some(Self::Mail),
            80 | 8080 if secure => Some(Self::PlainHttp),
            443 | 8443 if !secure => Some(Self::Tls),
            3306 => Some(Self::MySql),
            4222 => Some(Self::Nats),
            5432 => Some(Self::PostgreSql),
            5672 => Some(Self::Amqp),
            6379 => Some(Self::Redis),
            11211 => Some(Self::Memcached),
            _ => None,
        }
    }

    /// Returns the name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PlainHttp => "plain HTTP",
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Tls => "TLS",
            Self::Ssh => "SSH",
            Self::PostgreSql => "PostgreSQL",
            Self::MySql => "MySQL",
            Self::Redis => "Redis",
            Self::Memcached => "memcached",
            Self::Mail => "SMTP or FTP",
            Self::Mailbox => "IMAP or POP3",
            Self::Amqp => "AMQP (RabbitMQ)",
            Self::Nats => "NATS",
            Self::Unknown => "another protocol",
        }
    }

    /// Returns the meaning, and a remedy.
    pub fn hint(self) -> &'static str {
        match self {
            Self::PlainHttp => "the server speaks HTTP without TLS on this port: use http://",
            Self::Http1 => "the server does not speak HTTP/2 on this port: leave out --http2",
            Self::Http2 => {
                "the server speaks HTTP/2 only, as gRPC does: give --http2, or the port of its HTTP/1.1 service"
            }
            Self::Tls => "the server speaks TLS on this port: use https://",
            Self::Ssh => "this is the port of an SSH server: give the port of the HTTP service",
            Self::PostgreSql => {
                "this is the port of a PostgreSQL database: give the port of the HTTP service"
            }
            Self::MySql => {
                "this is the port of a MySQL database: give the port of the HTTP service"
            }
            Self::Redis => {
                "this is the port of a Redis database: give the port of the HTTP service"
            }
            Self::Memcached => {
                "this is the port of a memcached server: give the port of the HTTP service"
            }
            Self::Mail => {
                "this is the port of an SMTP or FTP server: give the port of the HTTP service"
            }
            Self::Mailbox => {
                "this is the port of an IMAP or POP3 server: give the port of the HTTP service"
            }
            Self::Amqp => {
                "this is the port of an AMQP broker (RabbitMQ): give the port of the HTTP service"
            }
            Self::Nats => {
                "this is the port of a NATS server; its HTTP service has another, usually 8222"
            }
            Self::Unknown => {
                "the bytes are no HTTP/1.1 response: is it the port of another service, or was an \
                 earlier response longer than its Content-Length?"
            }
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_name_their_protocol() {
        let table: [(&[u8], Protocol); 20] = [
            (b"\x15\x03\x01\x00\x02\x02\x46", Protocol::Tls),
            (b"\x16\x03\x03\x00\x7a", Protocol::Tls),
            (b"HTTP/1.1 400 Bad Request\r\n", Protocol::PlainHttp),
            (b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80", Protocol::Http2),
            (b"\0\0\x22\x07\0\0\0\0\0", Protocol::Http2),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", Protocol::Ssh),
            (b"\x4a\0\0\0\x0a8.0.36\0", Protocol::MySql),
            (b"\x45\0\0\0\xff\x6a\x04Host '10.0.0.1' is not allowed", Protocol::MySql),
            (b"E\0\0\0\x8dSFATAL\0VFATAL\0C08P01\0", Protocol::PostgreSql),
            (b"-ERR wrong number of arguments for 'get' command\r\n", Protocol::Redis),
            (b"-NOAUTH Authentication required.\r\n", Protocol::Redis),
            (b"-DENIED Redis is running in protected mode", Protocol::Redis),
            (b"ERROR\r\nERROR\r\n", Protocol::Memcached),
            (b"220 mail.example.test ESMTP\r\n", Protocol::Mail),
            (b"* OK IMAP4rev1 ready\r\n", Protocol::Mailbox),
            (b"+OK POP3 ready\r\n", Protocol::Mailbox),
            (b"AMQP\0\0\x09\x01", Protocol::Amqp),
            (b"INFO {\"server_id\":\"N\"}\r\n", Protocol::Nats),
            (b"ok, and more", Protocol::Unknown),
            (b"", Protocol::Unknown),
        ];
        for (bytes, protocol) in table {
            assert_eq!(Protocol::of(bytes), protocol, "{}", bytes.escape_ascii());
        }
    }
}
