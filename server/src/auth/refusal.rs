//! Why a token is refused.

/// A reason. Its text is the same for every token and contains nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none, and clients without one may do nothing.
    #[error(
        "this server wants a token: send it as `Authorization: Bearer`, or as a subprotocol `dormouse.token.TOKEN`, or connect with `?auth=message` and send a request `auth`"
    )]
    Missing,
    /// It has more bytes than a token may have.
    #[error("the token is larger than 8KiB")]
    TooLong,
    /// It is no JWT.
    #[error(
        "the token is not a signed JWT: three parts of base64url with dots between, the first two of them JSON objects"
    )]
    Malformed,
    /// It demands an extension of JWT.
    #[error("the token has critical header fields (`crit`), and this server knows none")]
    Critical,
    /// It is not signed, or with an algorithm that this server does not have.
    #[error("the token's algorithm is none that this server accepts")]
    Algorithm,
    /// The key is for another algorithm than the token names.
    #[error("the token names an algorithm that its key is not for")]
    OtherAlgorithm,
    /// Nothing says which of the keys is meant.
    #[error("the token names no key (`kid`), and it is not clear which one is meant")]
    NoKeyId,
    /// The server does not have the key.
    #[error("the token is signed with a key that this server does not know")]
    UnknownKey,
    /// It looks like an API key and is none, or none any more.
    #[error("the API key is not one of this server, or was revoked")]
    UnknownApiKey,
    /// The keys of an issuer were never fetched, or too long ago.
    #[error("the keys of the token's issuer cannot be fetched at present")]
    KeysUnavailable,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// The claims are nested too deeply.
    #[error("the token's claims are nested more than 8 deep")]
    TooDeep,
    /// The token does not say until when it is valid.
    #[error("the token has no time of expiry (`exp`) in seconds since 1970")]
    NoExpiry,
    /// The token was valid.
    #[error("the token has expired (`exp`)")]
    Expired,
    /// `nbf` is no time.
    #[error("the token's `nbf` must be in seconds since 1970")]
    NotBefore,
    /// The token will be valid.
    #[error("the token is not valid yet (`nbf`)")]
    NotYetValid,
    /// Another issuer made it, or none is named.
    #[error("the token's issuer (`iss`) is not one that this server accepts for its key")]
    Issuer,
    /// It is for other servers.
    #[error("the token's audience (`aud`) does not name this server")]
    Audience,
    /// It names no user.
    #[error(
        "the token names no user: `sub` must be a text of 1-128 bytes without control characters"
    )]
    Subject,
    /// A certificate names no user.
    #[error(
        "the certificate names no user: its common name must have 1-128 bytes without control characters"
    )]
    CommonName,
    /// The certificate was valid.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// Its id is not a text of 1–128 bytes.
    #[error("the token's id (`jti`) must be a text of 1-128 bytes")]
    Id,
    /// It was revoked, or all tokens of its user were.
    #[error("the token has been revoked")]
    Revoked,
    /// Its grants cannot be read.
    #[error("the token's grants are not a list of at most 100 valid grants")]
    Grants,
    /// Its roles cannot be read.
    #[error("the token's roles are not a list of at most 100 texts")]
    Roles,
}
