//! Who we are towards NATS where that is a key in a file: read anew for each connection, so that rotated files need no
//! restart. Knows the two kinds of files, nothing of connections.

use super::SettingsError;
use async_nats::{Auth, AuthError};
use nkeys::KeyPair;
use std::io;
use std::path::PathBuf;

/// A file with a key.
#[derive(Debug, Clone)]
pub(super) enum IdentityFile {
    /// `.creds`: a user's JWT and the seed that signs for it.
    Credentials(PathBuf),
    /// The seed of an NKEY alone.
    Nkey(PathBuf),
}

impl IdentityFile {
    /// Reads the file and answers the server's challenge with it.
    pub(super) fn answer(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let (jwt, key) = self.read().map_err(AuthError::new)?;
        let signature = key.sign(nonce).map_err(AuthError::new)?;
        let mut auth = Auth::new();
        if jwt.is_none() {
            auth.nkey = Some(key.public_key());
        }
        auth.jwt = jwt;
        auth.signature = Some(signature);
        Ok(auth)
    }

    /// Whether the file holds what it should.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<(Option<String>, KeyPair), SettingsError> {
        let (setting, path) = match self {
            Self::Credentials(path) => ("bus.credentials", path),
            Self::Nkey(path) => ("bus.nkey", path),
        };
        let malformed = |what: String| SettingsError::Malformed {
            setting,
            path: path.clone(),
            source: io::Error::new(io::ErrorKind::InvalidData, what),
        };
        let text = super::settings::read(setting, path)?;
        let (jwt, seed) = match self {
            Self::Credentials(_) => {
                let jwt = section(&text, "USER JWT").ok_or_else(|| malformed("no user JWT in it".to_owned()))?;
                let seed = section(&text, "NKEY SEED").ok_or_else(|| malformed("no NKEY seed in it".to_owned()))?;
                (Some(jwt.to_owned()), seed)
            }
            Self::Nkey(_) => (None, text.trim()),
        };
        let key = KeyPair::from_seed(seed).map_err(|error| malformed(error.to_string()))?;
        Ok((jwt, key))
    }
}

/// What stands between the line that names it and the next dashes: `-----BEGIN NATS USER JWT-----`, …; some tools write
/// more dashes.
fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(name)?;
    let (_, rest) = rest.split_once('\n')?;
    let (body, _) = rest.split_once("---")?;
    Some(body.trim()).filter(|body| !body.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("user");
        std::fs::write(&path, text).expect("written");
        (folder, path)
    }

    fn seed() -> (String, String) {
        let key = KeyPair::new_user();
        (key.seed().expect("a seed"), key.public_key())
    }

    #[test]
    fn a_rotated_file_answers_with_the_new_key() {
        let ((old, old_public), (new, new_public)) = (seed(), seed());
        let (_folder, path) = file(&format!("{old}\n"));
        let identity = IdentityFile::Nkey(path.clone());
        assert_eq!(identity.answer(b"nonce").expect("good").nkey, Some(old_public));

        std::fs::write(&path, new).expect("written");

        let auth = identity.answer(b"nonce").expect("good");
        assert_eq!((auth.nkey, auth.signature.map(|signature| signature.len())), (Some(new_public), Some(64)));
    }

    #[test]
    fn credentials_have_a_jwt_and_a_seed() {
        let (seed, _) = seed();
        let (_folder, path) = file(&format!(
            "-----BEGIN NATS USER JWT-----\nabc.def\n------END NATS USER JWT------\n\nIMPORTANT\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        ));

        let auth = IdentityFile::Credentials(path).answer(b"nonce").expect("good");

        assert_eq!((auth.jwt.as_deref(), auth.nkey), (Some("abc.def"), None));
    }

    #[test]
    fn what_holds_no_key_is_named_without_its_text() {
        let (_folder, path) = file("SECRETTEXT");
        for identity in [IdentityFile::Nkey(path.clone()), IdentityFile::Credentials(path)] {
            let error = crate::logging::chain(&identity.check().expect_err("no key")).to_string();
            assert!(error.contains("is malformed") && !error.contains("SECRETTEXT"), "{error}");
        }
    }
}
