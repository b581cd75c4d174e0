//! NKeys: the seed in a file, and the signature of a plan. Owns both; the server's own check of a key
//! is the client library's.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use nkeys::KeyPair;

use crate::exit::{Exit, Failure};
use crate::protocol::{RunPlan, SignedPlan, decode};

/// The longest file that may hold a seed.
const MAX_SEED_FILE: u64 = 4096;

/// Reads a seed: the first line of the file that begins with S.
pub(crate) fn read_seed(path: &Path) -> Result<String, Failure> {
    let wrong = |why: String| {
        Failure::new(
            Exit::Usage,
            format!("--nkey {}: {why}; `fleet key` makes one", path.display()),
        )
    };
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if length > MAX_SEED_FILE {
        return Err(wrong(format!("{length} bytes are too many for a seed")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let seed = text.lines().map(str::trim).find(|line| line.starts_with('S'));
    let seed = seed.ok_or_else(|| wrong("it has no line that begins with S".to_owned()))?;
    KeyPair::from_seed(seed).map_err(|error| wrong(format!("it holds no seed: {error}")))?;
    Ok(seed.to_owned())
}

/// Writes a new seed to `path`, which must not exist, and returns the public key.
pub(crate) fn make(path: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::new(Exit::Output, format!("{}: {why}", path.display()));
    let key = KeyPair::new_user();
    let seed = key.seed().map_err(|error| failed(error.to_string()))?;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| writeln!(file, "{seed}"))
        .map_err(|error| failed(error.to_string()))?;
    Ok(key.public_key())
}

/// Returns the SHA-256 of a plan as it stands, in hexadecimal.
pub(crate) fn digest(signed: &SignedPlan) -> String {
    HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, signed.plan.as_bytes()).as_ref())
}

/// Signs a plan. Without a seed the plan has no key, and no signature.
pub(crate) fn sign(plan: &RunPlan, seed: Option<&str>) -> Result<SignedPlan, Failure> {
    let failed = |error: String| Failure::new(Exit::Failed, format!("cannot sign: {error}"));
    let text = serde_json::to_string(plan).map_err(|error| failed(error.to_string()))?;
    let Some(seed) = seed else {
        return Ok(SignedPlan { plan: text, key: String::new(), signature: String::new() });
    };
    let key = KeyPair::from_seed(seed).map_err(|error| failed(error.to_string()))?;
    let signature = key.sign(text.as_bytes()).map_err(|error| failed(error.to_string()))?;
    Ok(SignedPlan { plan: text, key: key.public_key(), signature: BASE64.encode(&signature) })
}

/// Returns the plan if its signature is good, and its key is one of `trusted`. An empty list trusts
/// every coordinator that the server lets in, but no wrong signature.
pub(crate) fn verify(signed: &SignedPlan, trusted: &[String]) -> Result<RunPlan, Failure> {
    let refused = |why: String| Err(Failure::new(Exit::Usage, why));
    if !trusted.is_empty() && !trusted.contains(&signed.key) {
        let key = if signed.key.is_empty() { "no key" } else { &signed.key };
        return refused(format!("the plan is signed by {key}, which --coordinator does not name"));
    }
    if !signed.key.is_empty() {
        let good = BASE64.decode(signed.signature.as_bytes()).is_ok_and(|signature| {
            let key = KeyPair::from_public_key(&signed.key);
            key.is_ok_and(|key| key.verify(signed.plan.as_bytes(), &signature).is_ok())
        });
        if !good {
            return refused(format!("the plan's signature is not that of {}", signed.key));
        }
    }
    decode(signed.plan.as_bytes(), "the plan")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> RunPlan {
        RunPlan {
            run: "r".to_owned(),
            protocol: 1,
            version: "1".to_owned(),
            arguments: vec!["http://host/".to_owned()],
            workers: vec!["w".to_owned()],
            expires_unix_s: 1,
        }
    }

    #[test]
    fn signed_plan_verifies() {
        let key = KeyPair::new_user();
        let signed = sign(&plan(), Some(&key.seed().unwrap())).unwrap();
        assert_eq!(verify(&signed, &[]), Ok(plan()));
        assert_eq!(verify(&signed, &[key.public_key()]), Ok(plan()));
    }

    #[test]
    fn changed_plan_is_refused() {
        let key = KeyPair::new_user();
        let mut signed = sign(&plan(), Some(&key.seed().unwrap())).unwrap();
        signed.plan = signed.plan.replace("host", "evil");
        let error = verify(&signed, &[]).unwrap_err();
        assert!(error.to_string().contains("signature"), "{error}");
    }

    #[test]
    fn unknown_coordinator_is_refused() {
        let (known, other) = (KeyPair::new_user(), KeyPair::new_user());
        let signed = sign(&plan(), Some(&other.seed().unwrap())).unwrap();
        assert!(verify(&signed, &[known.public_key()]).is_err());
        let unsigned = sign(&plan(), None).unwrap();
        assert_eq!(verify(&unsigned, &[]), Ok(plan()));
        let error = verify(&unsigned, &[known.public_key()]).unwrap_err();
        assert!(error.to_string().contains("no key"), "{error}");
    }
}
