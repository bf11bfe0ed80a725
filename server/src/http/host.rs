//! Which names this server answers to.
//!
//! A page of `evil.example` whose name is made to resolve to this machine (DNS rebinding) sends requests here with that name in
//! `Host`, and the browser lets it read the answers. An address cannot be rebound, so every IP address is admitted; of names,
//! only those of the loopback interface and those that the operator has configured.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;

/// The names that requests may be addressed to.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    /// Names without a port, which stand for every port; `*.example.com` for all names below `example.com`; `*` for every name.
    pub(super) fn new(allowed: &[String]) -> Self {
        Self(allowed.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether the request is addressed to this server. One without `Host` comes from no browser.
    pub(super) fn admit(&self, request: &Parts) -> bool {
        let mut hosts = request.headers.get_all(HOST).iter();
        let named = hosts.all(|host| {
            let host = host.to_str().ok().and_then(|host| host.trim().parse().ok());
            host.is_some_and(|host: Authority| self.knows(host.host()))
        });
        named && request.uri.authority().is_none_or(|authority| self.knows(authority.host()))
    }

    fn knows(&self, host: &str) -> bool {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let is_allowed = |allowed: &String| match allowed.strip_prefix('*') {
            Some(suffix) => name.ends_with(suffix) && name.len() > suffix.len(),
            None => name == *allowed,
        };
        name == "localhost"
            || name.ends_with(".localhost")
            || address.parse::<IpAddr>().is_ok()
            || self.0.iter().any(is_allowed)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn admits(allowed: &[&str], host: &str) -> bool {
        let allowed: Vec<_> = allowed.iter().map(|&name| name.to_owned()).collect();
        let request = Request::get("/").header(HOST, host).body(()).unwrap();
        Hosts::new(&allowed).admit(&request.into_parts().0)
    }

    #[test]
    fn addresses_and_loopback_names_are_admitted_and_others_if_they_are_configured() {
        for own in [
            "localhost",
            "LOCALHOST:7700",
            "a.localhost",
            "127.0.0.1:7700",
            "[::1]:7700",
            "10.0.0.7",
        ] {
            assert!(admits(&[], own), "{own}");
        }
        for foreign in [
            "evil.example",
            "evil.example:7700",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "a b",
            "[::1",
        ] {
            assert!(!admits(&["chat.example"], foreign), "{foreign}");
        }
        assert!(admits(&["chat.example"], "Chat.Example:443"));
        assert!(admits(&["*.chat.example"], "eu.chat.example"));
        assert!(!admits(&["*.chat.example"], "chat.example"));
        assert!(!admits(&["*.chat.example"], "evilchat.example"));
        assert!(admits(&["*"], "evil.example"));
    }

    #[test]
    fn every_host_of_a_request_counts() {
        let hosts = Hosts::new(&[]);
        let request = |target: &str, names: &[&str]| {
            let mut request = Request::get(target);
            for name in names {
                request = request.header(HOST, *name);
            }
            request.body(()).unwrap().into_parts().0
        };
        assert!(hosts.admit(&request("/", &[])));
        assert!(!hosts.admit(&request("/", &["localhost", "evil.example"])));
        assert!(!hosts.admit(&request("http://evil.example/", &["localhost"])));
        assert!(hosts.admit(&request("http://localhost/", &["localhost"])));
    }
}
