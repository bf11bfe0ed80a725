//! Who a client is and what it may do: checks tokens, keeps the keys that they are checked with, and decides by grants.
//!
//! Knows nothing of connections, requests or the configuration. The time of day is given; only the threads that reload keys look at a
//! clock.

mod access;
mod api_keys;
mod cache;
mod certificate;
mod create;
mod durable_file;
mod files;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod grant;
mod jwks;
mod key;
mod keyring;
mod own_key;
mod pattern;
mod refusal;
mod revocations;
mod rules;
mod settings;
mod subject;
mod token;
mod verb;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use self::access::Access;
pub use self::api_keys::{ApiKeyError, ApiKeyInfo, MAX_API_KEYS};
pub use self::certificate::ClientCertificate;
pub use self::create::{CreateError, NewToken};
pub use self::files::ReadError;
#[cfg(any(test, fuzzing))]
pub use self::fuzz::{grants, tokens};
pub use self::grant::{Grant, GrantError, MAX_GRANTS, decide, deciding_grant};
pub use self::key::InvalidKey;
pub use self::own_key::{create_own_key, own_key_file};
pub use self::pattern::PatternError;
pub use self::refusal::Refusal;
pub use self::revocations::{MAX_REVOCATIONS, Revocation, RevokeError};
pub use self::rules::Rules;
pub use self::settings::{Endpoint, KeySetting, NotAKeySetting, NotAnEndpoint, Settings};
pub use self::subject::Subject;
pub use self::token::MAX_TOKEN_BYTES;
pub use self::verb::{NotAVerb, Verb, Verbs};

use self::api_keys::ApiKeys;
use self::cache::Cache;
use self::files::KeyFile;
use self::jwks::{Jwks, Place};
use self::keyring::Keyring;
use self::revocations::Revocations;
use self::token::Parts;
use crate::periodic::Periodic;

/// How often files with keys are read again.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// How often the last use of API keys is written.
const RECORD_INTERVAL: Duration = Duration::from_mins(1);

/// What an admitted client may do, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// What it may do.
    pub access: Arc<Access>,
    /// The time that is left; without a token there is no end.
    pub left: Option<Duration>,
}

impl Admitted {
    /// A client that may do nothing yet. It has to send its token within `left`.
    pub fn until_auth(left: Duration) -> Self {
        Self { access: Arc::new(Access::anonymous(&[])), left: Some(left) }
    }

    /// Whether the client still has to send its token: only a token or a certificate has an end of its own.
    pub fn awaits_token(&self) -> bool {
        self.left.is_some() && self.access.expires.is_none()
    }
}

/// Checks tokens.
pub struct Auth {
    keyring: Arc<Keyring>,
    rules: Rules,
    revocations: Revocations,
    api_keys: Arc<ApiKeys>,
    cache: Mutex<Cache>,
    issuers: Vec<Jwks>,
    has_keys: bool,
    /// What clients without a token may do, if that is anything.
    anonymous: Option<Arc<Access>>,
    _reload: Option<Periodic>,
    _record_use: Periodic,
}

/// Why no token can be checked.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A key cannot be read.
    #[error("the key `{id}` of tokens cannot be used")]
    Key {
        /// Its id.
        id: String,
        /// What is wrong with it.
        source: ReadError,
    },
    /// Two keys have one id, and a token names its key by the id.
    #[error("auth.keys has two keys with the id `{0}`")]
    TwoKeys(String),
    /// The API keys cannot be read.
    #[error("cannot read {}: repair it, restore it from a backup, or remove it and make new keys", .file.display())]
    ApiKeys {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The list of revocations cannot be read. A start without it would make revoked tokens valid again.
    #[error("cannot read {}: repair it, restore it from a backup, or remove it to lift all revocations", .file.display())]
    Revocations {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The system refuses a thread.
    #[error("cannot start a thread that reloads keys")]
    Thread(#[from] io::Error),
}

impl Auth {
    /// Reads the keys of files and variables, and starts to fetch those of issuers, without waiting for them.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let Settings { mut keys, own_key, jwks, oidc, data, rules } = settings;
        let revocations = Revocations::read(&data)
            .map_err(|source| StartError::Revocations { file: revocations::file(&data), source })?;
        let api_keys = ApiKeys::read(&data)
            .map_err(|source| StartError::ApiKeys { file: api_keys::file(&data), source })?;
        let api_keys = Arc::new(api_keys);
        if own_key.exists() {
            keys.push(own_key::setting(own_key));
        }
        let keyring = Arc::new(Keyring::default());
        let mut files = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let id = key.id.clone();
            if keys[..at].iter().any(|earlier| earlier.id == id) {
                return Err(StartError::TwoKeys(id));
            }
            match KeyFile::open(key.clone(), &keyring) {
                Ok(file) if key.can_change() => files.push(file),
                Ok(_) => {}
                Err(source) => return Err(StartError::Key { id, source }),
            }
        }
        let mut issuers = Vec::new();
        for place in jwks.map(Place::Set).into_iter().chain(oidc.map(Place::Issuer)) {
            issuers.push(Jwks::start(place, keyring.clone())?);
        }
        let has_keys = !keys.is_empty() || !issuers.is_empty() || api_keys.are_used();
        let is_reloaded = !files.is_empty();
        let reloaded = keyring.clone();
        let reload_all = move || files.iter_mut().for_each(|file| file.reload(&reloaded));
        let start = || Periodic::start("auth-files", RELOAD_INTERVAL, reload_all);
        let reload = is_reloaded.then(start).transpose()?;
        let used = api_keys.clone();
        let record_use =
            Periodic::start("auth-api-keys", RECORD_INTERVAL, move || used.write_use())?;
        let anonymous =
            (!rules.anonymous.is_empty()).then(|| Arc::new(Access::anonymous(&rules.anonymous)));
        let cache = Mutex::default();
        Ok(Self {
            keyring,
            rules,
            revocations,
            api_keys,
            cache,
            issuers,
            has_keys,
            anonymous,
            _reload: reload,
            _record_use: record_use,
        })
    }

    /// Whether there is any key: without one no token is valid.
    pub fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// Whether every client may do everything, because the configuration has no key, and no grants for anonymous clients
    /// or for certificates.
    pub fn is_open(&self) -> bool {
        !self.has_keys && self.anonymous.is_none() && self.rules.certificates.is_empty()
    }

    /// Admits a client that presents this token; without a token, by its certificate; without either, as an anonymous client. Returns
    /// `None` if every client may do everything.
    pub fn admit(
        &self,
        token: Option<&str>,
        certificate: Option<&ClientCertificate>,
        now_ms: u64,
    ) -> Result<Option<Admitted>, Refusal> {
        if self.is_open() {
            return Ok(None);
        }
        let access = match (token, certificate) {
            (Some(token), _) => self.authenticate(token, now_ms / 1000)?,
            (None, Some(certificate)) => self.access_of(certificate, now_ms / 1000)?,
            (None, None) => self.anonymous.clone().ok_or(Refusal::Missing)?,
        };
        let left = access.expires.map(|expires| {
            let end = Duration::from_secs(expires).saturating_add(self.rules.leeway);
            end.saturating_sub(Duration::from_millis(now_ms))
        });
        Ok(Some(Admitted { access, left }))
    }

    /// What the certificate of a client gives.
    fn access_of(&self, certificate: &ClientCertificate, now: u64) -> Result<Arc<Access>, Refusal> {
        let access = Access::of_certificate(certificate, &self.rules.certificates)?;
        // TLS does not verify the certificate again when it resumes a session.
        if access.has_expired(self.rules.leeway.as_secs(), now) {
            return Err(Refusal::CertificateExpired);
        }
        if self.is_revoked(&access) { Err(Refusal::Revoked) } else { Ok(Arc::new(access)) }
    }

    /// What a token gives at a time, in seconds since the Unix epoch.
    pub fn authenticate(&self, token: &str, now: u64) -> Result<Arc<Access>, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        if api_keys::is_api_key(token) {
            let key = self.api_keys.find(token, now).ok_or(Refusal::UnknownApiKey)?;
            return Ok(Arc::new(Access::of_api_key(key)));
        }
        let access = self.known_or_checked(token, now)?;
        if self.is_revoked(&access) { Err(Refusal::Revoked) } else { Ok(access) }
    }

    fn known_or_checked(&self, token: &str, now: u64) -> Result<Arc<Access>, Refusal> {
        // Before the check: keys that change meanwhile make it void.
        let version = self.keyring.version();
        let hash = cache::hash(token);
        let known = self.cache.lock().get(&hash, version);
        if let Some(access) = known {
            if !access.has_expired(self.rules.leeway.as_secs(), now) {
                return Ok(access);
            }
            self.cache.lock().remove(&hash);
            return Err(Refusal::Expired);
        }
        let access = Arc::new(self.check(token, now)?);
        self.cache.lock().insert(hash, access.clone(), version);
        Ok(access)
    }

    /// Whether the token of an access has been revoked since it was checked.
    pub fn is_revoked(&self, access: &Access) -> bool {
        access.api_key.as_ref().is_some_and(|key| key.is_revoked())
            || self.revocations.hold_for(access)
    }

    /// All API keys, by their names.
    pub fn api_keys(&self) -> Vec<ApiKeyInfo> {
        self.api_keys.all()
    }

    /// Makes an API key and returns it. The server keeps only its hash. `now` is in seconds since the Unix epoch. Blocks.
    pub fn create_api_key(
        &self,
        name: &str,
        grants: Vec<Grant>,
        now: u64,
    ) -> Result<String, ApiKeyError> {
        self.api_keys.create(name, grants, now)
    }

    /// Revokes an API key: new connections with it are refused. The caller closes the open ones. False if there is no such key. Blocks.
    pub fn revoke_api_key(&self, name: &str) -> Result<bool, ApiKeyError> {
        self.api_keys.revoke(name)
    }

    /// Writes what is still to be written. The directory may belong to another server after this. Blocks.
    pub fn end(&self) {
        self.api_keys.end();
    }

    /// All revocations.
    pub fn revocations(&self) -> Vec<Revocation> {
        self.revocations.all()
    }

    /// Revokes tokens: new connections with them are refused. The caller closes the open ones. It is on disk when this returns. Blocks.
    pub fn revoke(&self, revocation: Revocation) -> Result<(), RevokeError> {
        self.revocations.add(revocation)
    }

    /// Lifts the revocation of a token or of a user. False if there is none. Blocks.
    pub fn lift(&self, revocation: &Revocation) -> Result<bool, RevokeError> {
        self.revocations.lift(revocation)
    }

    fn check(&self, token: &str, now: u64) -> Result<Access, Refusal> {
        let parts = Parts::split(token)?;
        let key = self.keyring.find(parts.key.as_deref(), parts.algorithm).inspect_err(|why| {
            if *why == Refusal::UnknownKey {
                self.issuers.iter().for_each(Jwks::look_for_new_keys);
            }
        })?;
        key.check(&parts)?;
        Access::from_claims(&parts.claims()?, &self.rules, key.issuer.as_deref(), now)
    }

    /// Makes a token.
    pub fn create(&self, wanted: &NewToken, now: u64) -> Result<String, CreateError> {
        let key = self
            .keyring
            .signer(wanted.key.as_deref())
            .ok_or_else(|| wanted.key.clone().map_or(CreateError::NoKey, CreateError::NoSuchKey))?;
        create::create(wanted, &self.rules, &key, now)
    }

    /// Waits until each issuer was asked for its keys once. Blocks.
    pub fn wait_for_issuers(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        for issuer in &self.issuers {
            issuer.wait_for_fetches(1, deadline);
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("rules", &self.rules).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
