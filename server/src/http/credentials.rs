//! Where a request to connect carries its token of access. Pure: another part checks the token.

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};

use super::headers::{only, tokens};

/// Stands for a token that cannot be read. A client that sends one is not a client without a token.
const UNREADABLE: &str = "";
/// The prefix of the subprotocol that carries a token of access.
pub(super) const SUBPROTOCOL_TOKEN: &str = "dormouse.token.";
/// The token of access in `Authorization`, or else in a subprotocol, because pages cannot set headers.
pub(super) fn access_token(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(AUTHORIZATION) {
        let Some(header) = only(headers, &AUTHORIZATION) else { return Some(UNREADABLE) };
        let (scheme, token) = header.split_once(' ').unwrap_or((header, UNREADABLE));
        // Any other scheme is meant for a proxy.
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(token.trim());
        }
    }
    tokens(headers, &SEC_WEBSOCKET_PROTOCOL)
        .find_map(|offered| offered.strip_prefix(SUBPROTOCOL_TOKEN))
}

/// The token of access in the cookie of this name, if it has a name.
pub(super) fn cookie_token<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    if name.is_empty() {
        return None;
    }
    let lists = headers.get_all(COOKIE).iter().filter_map(|list| list.to_str().ok());
    let mut cookies =
        lists.flat_map(|list| list.split(';')).filter_map(|pair| pair.split_once('='));
    cookies.find(|(cookie, _)| cookie.trim() == name).map(|(_, token)| token.trim())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_token_comes_in_the_header_or_as_a_subprotocol() {
        let token_of = |headers: &[(HeaderName, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name, HeaderValue::from_static(value));
            }
            access_token(&map).map(ToOwned::to_owned)
        };
        assert_eq!(token_of(&[]), None);
        assert_eq!(token_of(&[(AUTHORIZATION, "Bearer a.b.c")]).as_deref(), Some("a.b.c"));
        assert_eq!(token_of(&[(AUTHORIZATION, "bearer  a.b.c ")]).as_deref(), Some("a.b.c"));
        let offered = (SEC_WEBSOCKET_PROTOCOL, "dormouse.v1.json, dormouse.token.x.Y.z");
        assert_eq!(token_of(std::slice::from_ref(&offered)).as_deref(), Some("x.Y.z"));
        let basic = (AUTHORIZATION, "Basic dXNlcg==");
        assert_eq!(token_of(std::slice::from_ref(&basic)), None);
        assert_eq!(token_of(&[basic, offered]).as_deref(), Some("x.Y.z"));
        // What is broken is a token that is not valid, and no lack of one.
        assert_eq!(token_of(&[(AUTHORIZATION, "Bearer")]).as_deref(), Some(""));
        let twice = [(AUTHORIZATION, "Bearer a.b.c"), (AUTHORIZATION, "Bearer a.b.c")];
        assert_eq!(token_of(&twice).as_deref(), Some(""));
    }

    #[test]
    fn a_cookie_is_found_by_its_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("theme=dark; access=a.b.c"));
        headers.append(COOKIE, HeaderValue::from_static("other=x"));
        assert_eq!(cookie_token(&headers, "access"), Some("a.b.c"));
        assert_eq!(cookie_token(&headers, "other"), Some("x"));
        assert_eq!(cookie_token(&headers, "acces"), None);
        assert_eq!(cookie_token(&headers, ""), None, "no cookie is configured");
    }
}
