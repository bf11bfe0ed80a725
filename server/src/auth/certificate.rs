//! The certificate of a client: the user and the time of expiry.

use x509_parser::parse_x509_certificate;

/// The fields of a verified certificate that matter for access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The common name of its subject.
    pub common_name: String,
    /// When it ends, in seconds since the Unix epoch.
    pub expires: u64,
}

impl ClientCertificate {
    /// Reads a certificate in DER. `None` if its subject does not have exactly one common name.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        let mut names = certificate.subject().iter_common_name();
        let (name, None) = (names.next()?, names.next()) else { return None };
        let expires = certificate.validity().not_after.timestamp();
        Some(Self {
            common_name: name.as_str().ok()?.to_owned(),
            expires: u64::try_from(expires).unwrap_or(0),
        })
    }
}
