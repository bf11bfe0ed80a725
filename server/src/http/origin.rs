//! Which web pages may connect. A browser lets any page open a WebSocket to any server, loopback too, and tells the server
//! only whose page it is: RFC 6455, section 10.2.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};

/// The pages that may connect: the server's own, and those of these origins.
#[derive(Debug, Clone)]
pub(super) struct Origins(Vec<String>);

impl Origins {
    /// Of `scheme://host[:port]`, or `*` for every page.
    pub(super) fn new(allowed: &[String]) -> Self {
        Self(allowed.to_vec())
    }

    /// Programs other than browsers send no origin, and are admitted.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let is_allowed = |allowed: &String| {
            allowed == "*" || origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes())
        };
        self.0.iter().any(is_allowed) || is_own(origin.as_bytes(), headers)
    }

    /// Whether the request comes from a page of the server, or of an origin that the configuration names. `*` does not count: browsers send
    /// cookies with the requests of any page, so a cookie from any page proves nothing.
    pub(super) fn trusts(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return false };
        let is_named = |named: &String| origin.as_bytes().eq_ignore_ascii_case(named.as_bytes());
        self.0.iter().any(is_named) || is_own(origin.as_bytes(), headers)
    }
}

/// The page came from the address that it connects to. The scheme may differ: TLS may end at a proxy.
fn is_own(origin: &[u8], headers: &HeaderMap) -> bool {
    let mut parts = origin.splitn(2, |byte| *byte == b':');
    let authority = parts.nth(1).and_then(|rest| rest.strip_prefix(b"//"));
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(allowed: &[&str], origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "chat.example:7700".parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        let allowed: Vec<_> = allowed.iter().map(|&origin| origin.to_owned()).collect();
        Origins::new(&allowed).admit(&headers)
    }

    #[test]
    fn a_page_of_the_server_and_a_program_may_connect_and_others_if_they_are_named() {
        assert!(admits(&[], None));
        assert!(admits(&[], Some("http://chat.example:7700")));
        assert!(admits(&[], Some("https://CHAT.example:7700")));
        for foreign in ["http://evil.example", "http://chat.example", "null", "chat.example:7700"] {
            assert!(!admits(&[], Some(foreign)), "{foreign}");
            assert!(admits(&["*"], Some(foreign)), "{foreign}");
        }
        assert!(admits(&["https://app.example"], Some("https://app.example")));
        assert!(!admits(&["https://app.example"], Some("http://app.example")));
    }

    #[test]
    fn cookies_of_pages_are_believed_if_the_page_is_named() {
        let trusts = |allowed: &str, origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("chat.example"));
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
            Origins::new(&[allowed.to_owned()]).trusts(&headers)
        };
        assert!(trusts("https://app.example", "https://app.example"));
        assert!(trusts("*", "https://chat.example"), "the server's own");
        assert!(!trusts("*", "https://evil.example"));
        assert!(!Origins::new(&["*".to_owned()]).trusts(&HeaderMap::new()), "no page");
    }
}
