//! A certificate for this machine alone, so that `wss://` can be tried.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// File names in the folder of `up`.
pub(super) const CERTIFICATE: &str = "certificate.pem";
pub(super) const KEY: &str = "key.pem";

/// Makes one, unless there is one: a browser that was told to trust it goes on doing so.
pub(super) fn make(folder: &Path) -> Result<()> {
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    if certificate.exists() && key.exists() {
        return Ok(());
    }
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).context("cannot make the development certificate")?;
    write_private(&key, &made.signing_key.serialize_pem())?;
    fs::write(&certificate, made.cert.pem()).with_context(|| format!("cannot write {}", certificate.display()))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
