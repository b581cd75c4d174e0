//! Who may read the page: TLS and basic authentication, both by files.
//!
//! Owns the reading of the files, and their errors. The files are read once, at the start.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::exit::{Exit, Failure};

/// Bytes of the file of users.
const MAX_USERS: u64 = 64 << 10;
/// Bytes of a file of certificates, or of a key.
const MAX_PEM: u64 = 1 << 20;

/// Users who may read the page, each as the field `Authorization` has them.
pub(super) struct Users {
    /// `user:password` in base64.
    tokens: Vec<String>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.tokens.len())
    }
}

impl Users {
    /// Reads a file of lines `user:password`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |why: &dyn fmt::Display| {
            let name = path.display();
            Failure::new(Exit::Usage, format!("cannot use {name} for --listen-auth: {why}"))
        };
        let bytes = read(path, MAX_USERS).map_err(|why| failed(&why))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| failed(&"it is not UTF-8"))?;
        let mut tokens = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(':') {
                Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                    tokens.push(BASE64_STANDARD.encode(line.as_bytes()));
                }
                _ => return Err(failed(&format!("line {number} is not user:password"))),
            }
        }
        if tokens.is_empty() {
            return Err(failed(&"it names no user; write a line user:password"));
        }
        Ok(Self { tokens })
    }

    /// Returns true if the value of `Authorization` names one of the users.
    pub(super) fn admit(&self, authorization: Option<&str>) -> bool {
        let Some((scheme, token)) = authorization.and_then(|value| value.split_once(' ')) else {
            return false;
        };
        let given = token.trim();
        // Every user is compared, and each to the end: the time does not say how far it was right.
        let found = self.tokens.iter().fold(false, |found, token| is_same(token, given) | found);
        scheme.eq_ignore_ascii_case("basic") && found
    }
}

fn is_same(one: &str, other: &str) -> bool {
    let length = one.len() == other.len();
    let pairs = one.bytes().zip(other.bytes());
    pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0 && length
}

/// Reads a file to its end, if that comes within `most` bytes. It may be a pipe: secrets come by one.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("it is larger than {} KiB", most >> 10));
    }
    Ok(bytes)
}

/// Reads a certificate chain and its key, both PEM.
pub(super) fn tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Failure> {
    let failed = |what: &Path, why: &dyn fmt::Display| {
        let name = what.display();
        Failure::new(Exit::Usage, format!("cannot use {name} for TLS: {why}"))
    };
    let pem = read(certificate, MAX_PEM).map_err(|why| failed(certificate, &why))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| failed(certificate, &error))?;
    if chain.is_empty() {
        return Err(failed(certificate, &"it holds no certificate in PEM"));
    }
    let pem = read(key, MAX_PEM).map_err(|why| failed(key, &why))?;
    let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| failed(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| failed(certificate, &error))?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_users_are_admitted() {
        let users = Users {
            tokens: vec![BASE64_STANDARD.encode(b"a:b"), BASE64_STANDARD.encode(b"c:d:e")],
        };
        let admit = |value: &str| users.admit(Some(value));
        assert!(admit(&format!("Basic {}", BASE64_STANDARD.encode(b"a:b"))));
        assert!(admit(&format!("basic  {}", BASE64_STANDARD.encode(b"c:d:e"))));
        for wrong in [
            "",
            "Basic",
            "Basic ",
            "Bearer YTpi",
            &format!("Basic {}", BASE64_STANDARD.encode(b"a:bb")),
        ] {
            assert!(!admit(wrong), "{wrong}");
        }
        assert!(!users.admit(None));
    }
}
