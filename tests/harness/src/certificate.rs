//! A certificate for `127.0.0.1` and `localhost`, made anew for each cluster that speaks TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A self-signed certificate and its key, as files.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes one in `folder`.
    ///
    /// # Panics
    /// If it cannot be made or written.
    pub fn make(folder: &Path) -> Self {
        Self::of(folder, ["127.0.0.1".to_owned(), "localhost".to_owned()])
    }

    /// Makes one in `folder` for these names and addresses.
    ///
    /// # Panics
    /// If it cannot be made or written.
    pub fn of(folder: &Path, names: impl Into<Vec<String>>) -> Self {
        let made = rcgen::generate_simple_self_signed(names).expect("make a certificate");
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("write the certificate");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("write the key");
        Self { certificate, key, der: made.cert.der().clone() }
    }

    /// TLS settings of a server that shows this certificate.
    ///
    /// # Errors
    /// The TLS library refuses them.
    ///
    /// # Panics
    /// If the files are gone.
    pub fn server(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("read the key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)?
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)?;
        Ok(Arc::new(config))
    }

    /// TLS settings of a client that trusts this certificate alone.
    ///
    /// # Panics
    /// If the TLS library refuses them.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("trust the certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("choose TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}
