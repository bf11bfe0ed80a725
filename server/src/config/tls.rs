//! The keys of `[tls]`.
//!
//! The doc comments are also what `dormouse config` prints.

use serde::Serialize;

use super::list;
use crate::tls::{CertificateFiles, Settings};

/// TLS at `listen`. The address for operators has none.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)), validate = Self::check)]
pub struct Tls {
    /// The certificates, `CHAIN_FILE, KEY_FILE` each, both in PEM. Without any, `listen` uses plain HTTP; otherwise HTTPS only. A client
    /// gets the first certificate that is valid for the name in its request (SNI); without a name, the first in the list. The server
    /// reads the files again when they change, and open connections stay. In the environment variable, `;` stands between entries.
    #[config(env = "DORMOUSE_TLS_CERTIFICATES", default = [], deserialize_with = list::by_semicolon)]
    pub certificates: Vec<CertificateFiles>,

    /// A file with the certificates, in PEM, of the authorities that sign certificates of clients. Empty: the server requests no certificates. A
    /// client with such a certificate and without a token is the user in the certificate's common name, and has the grants of
    /// `auth.certificates`. Certificates are optional for clients.
    #[config(env = "DORMOUSE_TLS_CLIENT_CA", default = "")]
    pub client_ca: String,
}

impl Tls {
    /// What TLS needs to know; `None` if it is off.
    pub fn settings(&self) -> Option<Settings> {
        let client_ca = (!self.client_ca.is_empty()).then(|| self.client_ca.clone().into());
        let certificates = self.certificates.clone();
        (!certificates.is_empty()).then_some(Settings { certificates, client_ca })
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.certificates.is_empty() && !self.client_ca.is_empty() {
            return Err("tls.client_ca needs tls.certificates");
        }
        Ok(())
    }
}
