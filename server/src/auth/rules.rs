//! The rules for claims: what the configuration says about tokens, apart from keys.

use std::collections::BTreeMap;
use std::time::Duration;

use super::grant::Grant;

/// Which tokens are accepted, and what they give.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The issuers (`iss`) that are accepted; any where there are none.
    pub issuer: Vec<String>,
    /// The names of this server (`aud`). A token without one is accepted only where there are none.
    pub audience: Vec<String>,
    /// The claim that holds grants.
    pub grants_claim: String,
    /// The claim that names roles.
    pub roles_claim: String,
    /// The grants of each role.
    pub roles: BTreeMap<String, Vec<Grant>>,
    /// The grants of a client without a token.
    pub anonymous: Vec<Grant>,
    /// The grants of a client with a certificate.
    pub certificates: Vec<Grant>,
    /// How far the clocks of issuers may differ from this server's.
    pub leeway: Duration,
}
