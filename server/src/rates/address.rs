//! The address of a client: that of the peer, or the one that a trusted proxy reports in `X-Forwarded-For`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

/// The networks of trusted proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(pub Vec<Network>);

/// An address or a network: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

/// The text is neither an address nor a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network is such as `10.0.0.1`, `10.0.0.0/8` or `fd00::/8`")]
pub struct NotANetwork;

impl Proxies {
    /// The address of the client. Each proxy appends the address of its own peer. So the client's address is the last one that does not
    /// belong to a trusted proxy. The client itself may have sent the entries before it.
    pub(super) fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> IpAddr {
        let mut client = peer;
        // Bytes and not text: invalid bytes that the client sent must not hide the entry of the proxy.
        let entries = forwarded.rev().flat_map(|list| list.rsplit(|byte| *byte == b','));
        for entry in entries {
            if !self.trusts(client) {
                break;
            }
            match str::from_utf8(entry).ok().and_then(|entry| address(entry.trim())) {
                Some(address) => client = address,
                None => break,
            }
        }
        client
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|Network(network)| network.contains(&address))
    }
}

/// Some proxies add a port, and some write IPv6 in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// The part of an address that counts. A client with an IPv6 address usually has all addresses of its network of 64 bits.
pub(super) fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| address()).map(Self).map_err(|_| NotANetwork)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"];
        let proxies = Proxies(trusted.map(|text| text.parse().unwrap()).to_vec());
        let forwarded = forwarded.iter().map(|value| value.as_bytes());
        proxies.client(peer.parse().unwrap(), forwarded).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_what_they_add() {
        assert_eq!(client("9.9.9.9", &["1.2.3.4"]), "9.9.9.9", "an untrusted peer");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(client("127.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("::ffff:127.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("127.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4", "made up");
        assert_eq!(client("127.0.0.1", &["6.6.6.6", "1.2.3.4, 10.1.1.1"]), "1.2.3.4", "a chain");
        assert_eq!(client("127.0.0.1", &["1.2.3.4:5678"]), "1.2.3.4");
        assert_eq!(client("127.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(client("127.0.0.1", &["[2001:db8::1]:9"]), "2001:db8::1");
        assert_eq!(client("127.0.0.1", &["1.2.3.4, unknown"]), "127.0.0.1", "no address");
        let proxies = Proxies(vec!["127.0.0.1".parse().unwrap()]);
        let hidden = [b"\xff, 1.2.3.4".as_slice()].into_iter();
        assert_eq!(proxies.client("127.0.0.1".parse().unwrap(), hidden).to_string(), "1.2.3.4");
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_address() {
        let of = |text: &str| prefix(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("1.2.3.4"), of("1.2.3.5"));
        assert_eq!(of("::ffff:1.2.3.4"), of("1.2.3.4"));
    }
}
