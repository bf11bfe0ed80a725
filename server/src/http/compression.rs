//! The negotiation of `permessage-deflate`: RFC 7692, sections 5 and 7.1. Pure.
//!
//! Whatever a client offers, the answer is that no message needs what another one has left behind: connections then keep no
//! windows, and the members of an object share what is compressed.

use axum::http::HeaderValue;

use crate::socket::WINDOW_BITS;

const NAME: &str = "permessage-deflate";

/// An offer that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compression {
    /// The client has asked for a small window, and is told how small it is.
    names_window: bool,
}

/// The parameters of an offer, each at most once.
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: bool,
}

impl Compression {
    /// Accepts one offer of an extension, if it is this one and can be kept to the letter.
    pub(super) fn accept(offer: &str) -> Option<Self> {
        let mut parts = offer.split(';').map(str::trim);
        if parts.next() != Some(NAME) {
            return None;
        }
        let mut parameters = Parameters::default();
        for part in parts {
            parameters.take(part)?;
        }
        match parameters.server_max_window_bits {
            Some(bits) if bits < WINDOW_BITS => None,
            bits => Some(Self { names_window: bits.is_some() }),
        }
    }

    /// What is said to the client.
    pub(super) fn answer(self) -> HeaderValue {
        let window = if self.names_window {
            format!("; server_max_window_bits={WINDOW_BITS}")
        } else {
            String::new()
        };
        let answer =
            format!("{NAME}; server_no_context_takeover; client_no_context_takeover{window}");
        HeaderValue::try_from(answer).expect("these are visible characters")
    }
}

impl Parameters {
    /// `None` if it is unknown, badly formed, or there already.
    fn take(&mut self, parameter: &str) -> Option<()> {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start())?)),
            None => (parameter, None),
        };
        let was_there = match (name, value) {
            ("server_no_context_takeover", None) => {
                std::mem::replace(&mut self.server_no_context_takeover, true)
            }
            ("client_no_context_takeover", None) => {
                std::mem::replace(&mut self.client_no_context_takeover, true)
            }
            ("server_max_window_bits", Some(value)) => {
                self.server_max_window_bits.replace(bits(value)?).is_some()
            }
            ("client_max_window_bits", value) => {
                value.map_or(Some(0), bits)?;
                std::mem::replace(&mut self.client_max_window_bits, true)
            }
            _ => return None,
        };
        (!was_there).then_some(())
    }
}

/// A value may stand in quotes, and means the same.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

/// 8 to 15, without a leading zero.
fn bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    value.starts_with(|first| ('1'..='9').contains(&first)).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(offer: &str) -> Option<String> {
        Compression::accept(offer).map(|accepted| accepted.answer().to_str().unwrap().to_owned())
    }

    #[test]
    fn whatever_is_offered_no_context_is_taken_over() {
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate;client_max_window_bits = \"15\" ; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        ] {
            assert_eq!(answer(offer).as_deref(), Some(plain), "{offer}");
        }
        for bits in [12, 13, 15] {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            assert_eq!(answer(&offer), Some(format!("{plain}; server_max_window_bits=12")));
        }
    }

    #[test]
    fn an_offer_that_cannot_be_kept_is_declined() {
        for parameter in [
            "server_max_window_bits=8",
            "server_max_window_bits=11",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=015",
            "server_max_window_bits=+15",
            "server_max_window_bits=\"15",
            "server_max_window_bits=",
            "server_max_window_bits",
            "client_max_window_bits=7",
            "client_max_window_bits=",
            "server_no_context_takeover=1",
            "client_no_context_takeover=\"\"",
            "unknown",
            "",
            "client_no_context_takeover; client_no_context_takeover",
            "server_no_context_takeover; server_no_context_takeover",
            "server_max_window_bits=12; server_max_window_bits=12",
            "client_max_window_bits; client_max_window_bits=12",
        ] {
            assert_eq!(answer(&format!("permessage-deflate; {parameter}")), None, "{parameter}");
        }
        assert_eq!(answer("permessage-bzip2"), None);
        assert_eq!(answer("x-webkit-deflate-frame"), None);
    }
}
