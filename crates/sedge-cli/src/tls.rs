//! The certificate and key for HTTPS, which can be read again while the server runs.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::settings::TlsFiles;

/// The certificate that new connections get.
pub(crate) struct Certificate {
    files: TlsFiles,
    provider: CryptoProvider,
    current: RwLock<Arc<CertifiedKey>>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Certificate {
    /// Reads the files. The error names the one at fault.
    pub(crate) fn load(files: &TlsFiles) -> Result<Arc<Certificate>, String> {
        let provider = ring::default_provider();
        let current = RwLock::new(Arc::new(read(files, &provider)?));
        Ok(Arc::new(Certificate { files: files.clone(), provider, current }))
    }

    /// Reads the files again, for connections that come from now on. If they are not what they must
    /// be, the certificate stays as it was.
    pub(crate) fn reread(&self) {
        match read(&self.files, &self.provider) {
            Ok(new) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                tracing::info!("the certificate was read again, for new connections");
            }
            Err(error) => {
                tracing::error!(error, "the certificate cannot be read again and stays as it was");
            }
        }
    }

    /// What listeners use.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, String> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(self.provider.clone()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = certificates(&files.certificate)?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, &error))?;
    let pair = format!("{} and {}", files.certificate.display(), files.key.display());
    CertifiedKey::from_der(chain, key, provider).map_err(|error| format!("{pair}: {error}"))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let chain: Vec<_> = all.map_err(|error| wrong(path, &error))?;
    if chain.is_empty() {
        return Err(format!("{}: there is no certificate in it", path.display()));
    }
    Ok(chain)
}

fn wrong(path: &Path, error: &rustls::pki_types::pem::Error) -> String {
    format!("{}: {error}", path.display())
}
