//! What we show clients over TLS, and how TLS is set up. The certificate can be exchanged while connections live.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file of certificates.
    #[error("cannot read certificates from {path}")]
    Certificates {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// It has none.
    #[error("no certificate in {path}")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// The file of the key.
    #[error("cannot read a private key from {path}")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// Not a pair, or of a kind that TLS cannot use.
    #[error("certificate and key do not make a usable pair")]
    Pair(#[source] rustls::Error),
    /// TLS cannot be set up.
    #[error("cannot set TLS up")]
    Setup(#[source] rustls::Error),
}

/// HTTP/2 in ALPN (RFC 9113 §3.2).
pub(super) const HTTP2: &[u8] = b"h2";

/// The certificate that new connections are shown.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<CertifiedKey>,
}

impl Certificates {
    /// Reads a chain and its key from PEM files.
    ///
    /// # Errors
    /// Files that cannot be read or do not belong together.
    pub fn load(certificates: &Path, key: &Path) -> Result<Arc<Self>, CertificateError> {
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(read(certificates, key)?) }))
    }

    /// When the one that is shown expires, Unix time in seconds; `None` where it does not say so legibly.
    pub fn expires_unix_s(&self) -> Option<i64> {
        let current = self.current.load();
        let (_, certificate) = x509_parser::parse_x509_certificate(current.cert.first()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }

    /// Reads again; on an error the present certificate stays. Connections that are there keep theirs.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(&self, certificates: &Path, key: &Path) -> Result<(), CertificateError> {
        self.current.store(Arc::new(read(certificates, key)?));
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(certificates: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let unreadable = |source| CertificateError::Certificates { path: certificates.to_owned(), source };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificates)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(CertificateError::Empty { path: certificates.to_owned() });
    }
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|source| CertificateError::Key { path: key.to_owned(), source })?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(CertificateError::Pair)
}

/// TLS for HTTP/1.1, and for HTTP/2 where that is wanted.
///
/// # Errors
/// As [`stream_config`].
pub fn server_config(certificates: Arc<Certificates>, http2: bool) -> Result<Arc<ServerConfig>, CertificateError> {
    let mut config = stream_config(certificates)?;
    // Who wants a WebSocket does not offer h2: there is no upgrade in it.
    config.alpn_protocols = [HTTP2, b"http/1.1"].iter().skip(usize::from(!http2)).map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// TLS 1.2 and 1.3 for bytes of any kind, with resumption by tickets, whose keys this process makes and renews itself:
/// nothing is stored per session.
///
/// # Errors
/// A crypto library that cannot make ticket keys.
pub fn stream_config(certificates: Arc<Certificates>) -> Result<ServerConfig, CertificateError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(CertificateError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(CertificateError::Setup)?;
    Ok(config)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A certificate for `localhost` that signs itself, and its key, as files.
    pub(in crate::net) struct Pair {
        pub(in crate::net) certificate: Vec<u8>,
        directory: tempfile::TempDir,
    }

    pub(in crate::net) fn pair() -> Pair {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("certificate.pem"), signed.cert.pem()).unwrap();
        std::fs::write(directory.path().join("key.pem"), signed.signing_key.serialize_pem()).unwrap();
        Pair { certificate: signed.cert.der().to_vec(), directory }
    }

    impl Pair {
        fn certificate_file(&self) -> PathBuf {
            self.directory.path().join("certificate.pem")
        }

        fn key_file(&self) -> PathBuf {
            self.directory.path().join("key.pem")
        }

        fn load(&self) -> Arc<Certificates> {
            Certificates::load(&self.certificate_file(), &self.key_file()).unwrap()
        }

        pub(in crate::net) fn server(&self) -> Arc<ServerConfig> {
            server_config(self.load(), false).unwrap()
        }

        /// The same where HTTP/2 may be chosen.
        pub(in crate::net) fn server_http2(&self) -> Arc<ServerConfig> {
            server_config(self.load(), true).unwrap()
        }
    }

    #[test]
    fn a_new_certificate_takes_the_place_of_the_old() {
        let (old, new) = (pair(), pair());
        let certificates = old.load();

        certificates.reload(&new.certificate_file(), &new.key_file()).unwrap();

        let shown = certificates.current.load();
        assert_eq!(shown.cert.first().map(|certificate| certificate.to_vec()), Some(new.certificate));
        assert!(certificates.expires_unix_s() > Some(1_700_000_000), "{:?}", certificates.expires_unix_s());
    }

    #[test]
    fn what_cannot_be_used_is_named_and_changes_nothing() {
        let (one, other) = (pair(), pair());
        let certificates = one.load();
        let nowhere = Path::new("/nonexistent/certificate.pem");

        let unreadable = certificates.reload(nowhere, &one.key_file()).unwrap_err();
        assert!(unreadable.to_string().contains("/nonexistent/certificate.pem"));
        let mismatch = certificates.reload(&one.certificate_file(), &other.key_file()).unwrap_err();
        assert!(matches!(mismatch, CertificateError::Pair(_)));
        let swapped = certificates.reload(&one.key_file(), &one.key_file()).unwrap_err();
        assert!(matches!(swapped, CertificateError::Empty { .. }));
        let no_key = certificates.reload(&one.certificate_file(), &one.certificate_file()).unwrap_err();
        assert!(matches!(no_key, CertificateError::Key { .. }));

        let shown = certificates.current.load();
        assert_eq!(shown.cert.first().map(|certificate| certificate.to_vec()), Some(one.certificate));
    }
}
