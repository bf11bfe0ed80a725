//! Certificates and keys in files, and which of them a client gets: the first that is for the name it asks for (SNI, RFC 6066).

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use serde::{Serialize, Serializer};

/// Bytes of one file.
const MAX_BYTES: u64 = 1 << 20;

/// Where certificates are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server's own, the default one first.
    pub certificates: Vec<CertificateFiles>,
    /// The authorities that sign certificates of clients; with `None`, the server requests no certificates.
    pub client_ca: Option<PathBuf>,
}

/// A file with a chain of certificates and one with its key, both in PEM: `CHAIN_FILE, KEY_FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
}

/// The text names no two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be `CHAIN_FILE, KEY_FILE`, as in `/etc/dormouse/fullchain.pem, /etc/dormouse/privkey.pem`"
)]
pub struct NotCertificateFiles;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("cannot read {}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds no certificates or no key.
    #[error("{} must hold {wanted} in PEM", .file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// The key is not the one of the certificate, or of a kind that is not known; or a certificate is broken.
    #[error("{} cannot be used", .file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The authorities of clients cannot be used.
    #[error("{} cannot be used", .file.display())]
    ClientCa {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: rustls::server::VerifierBuilderError,
    },
}

/// The bytes of all files, in the order of the settings.
pub(super) type Files = Vec<Vec<u8>>;

impl FromStr for CertificateFiles {
    type Err = NotCertificateFiles;

    fn from_str(text: &str) -> Result<Self, NotCertificateFiles> {
        let (chain, key) = text.split_once(',').ok_or(NotCertificateFiles)?;
        let (chain, key) = (chain.trim(), key.trim());
        if chain.is_empty() || key.is_empty() || key.contains(',') {
            return Err(NotCertificateFiles);
        }
        Ok(Self { chain: chain.into(), key: key.into() })
    }
}

impl fmt::Display for CertificateFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.chain.display(), self.key.display())
    }
}

impl Serialize for CertificateFiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Settings {
    /// Reads all files.
    pub(super) fn read(&self) -> Result<Files, ReadError> {
        let own = self.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
        own.chain(&self.client_ca).map(|file| read(file)).collect()
    }

    /// Reads all files again. `None` if they are as before.
    pub(super) fn reload(&self, files: &mut Files) -> Result<Option<Arc<ServerConfig>>, ReadError> {
        let read = self.read()?;
        if read == *files {
            return Ok(None);
        }
        let config = self.config(&read)?;
        *files = read;
        Ok(Some(config))
    }

    /// What the files say.
    pub(super) fn config(&self, files: &Files) -> Result<Arc<ServerConfig>, ReadError> {
        let (own, client_ca) = files.split_at(2 * self.certificates.len());
        let pairs = self.certificates.iter().zip(own.chunks_exact(2));
        let keys = pairs.map(|(files, bytes)| certified_key(files, &bytes[0], &bytes[1]));
        let certificates = Certificates(keys.collect::<Result<_, _>>()?);
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites of both versions");
        let builder = match self.client_ca.as_deref().zip(client_ca.first()) {
            None => builder.with_no_client_auth(),
            Some((file, bytes)) => builder.with_client_cert_verifier(verifier(file, bytes)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // With tickets the server stores nothing for resumption. A new configuration has new ticket keys, so that a client whose
        // authority was removed cannot resume.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(|source| ReadError::Invalid {
            file: self.certificates[0].chain.clone(),
            source,
        })?;
        Ok(Arc::new(config))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 <= MAX_BYTES => Ok(bytes),
        Ok(_) => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1MiB")),
        Err(error) => Err(error),
    }
    .map_err(|source| ReadError::File { file: file.to_owned(), source })
}

fn certified_key(
    files: &CertificateFiles,
    chain: &[u8],
    key: &[u8],
) -> Result<Arc<CertifiedKey>, ReadError> {
    let chain = certificates(&files.chain, chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| ReadError::Pem {
        file: files.key.clone(),
        wanted: "a private key",
        source,
    })?;
    let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    key.map(Arc::new).map_err(|source| ReadError::Invalid { file: files.key.clone(), source })
}

fn certificates(file: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, ReadError> {
    let pem = |source| ReadError::Pem { file: file.to_owned(), wanted: "certificates", source };
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(pem)?;
    if found.is_empty() { Err(pem(rustls::pki_types::pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn verifier(
    file: &Path,
    bytes: &[u8],
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, ReadError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(file, bytes)? {
        let added = roots.add(authority);
        added.map_err(|source| ReadError::Invalid { file: file.to_owned(), source })?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    // A client without a certificate may have a token.
    let verifier = verifier.allow_unauthenticated().build();
    verifier.map_err(|source| ReadError::ClientCa { file: file.to_owned(), source })
}

/// The server's certificates.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    /// A client that names no server gets the first; one that names an unknown server gets none.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = hello.server_name() else { return self.0.first().cloned() };
        let name = ServerName::try_from(name).ok()?;
        let is_for_name = |key: &&Arc<CertifiedKey>| {
            let certificate = key.end_entity_cert().and_then(ParsedCertificate::try_from);
            certificate.and_then(|parsed| verify_server_name(&parsed, &name)).is_ok()
        };
        self.0.iter().find(is_for_name).cloned()
    }
}
