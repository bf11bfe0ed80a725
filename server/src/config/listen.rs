//! Where the server listens: a host, by name or address, and a port.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A host and a port, such as `127.0.0.1:7700`, `[::1]:7700` or `localhost:7700`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    host: Box<str>,
    port: u16,
}

/// The text is no host with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a host and a port, as in 127.0.0.1:7700, [::1]:7700 or localhost:7700")]
pub struct NotAnAddress;

impl ListenAddress {
    /// Changes the port; 0 is any free one.
    pub fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// The port; 0 is any free one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All addresses of the host, each once, in the order of the system's resolver. Blocks.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for address in (&*self.host, self.port).to_socket_addrs()? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
}

impl FromStr for ListenAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(address.into());
        }
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_name) {
            return Err(NotAnAddress);
        }
        Ok(Self { host: host.into(), port: port.parse().map_err(|_| NotAnAddress)? })
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string().into(), port: address.port() }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Where operators reach the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorsAddress {
    /// A host and a port.
    Tcp(ListenAddress),
    /// A Unix socket, written as `unix:PATH`.
    Unix(PathBuf),
}

/// The text is no address for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnOperatorsAddress {
    /// It is neither a path nor a host.
    #[error("{NotAnAddress}, or unix:PATH for a Unix socket")]
    Address,
    /// The path is empty.
    #[error("unix: needs the path of a socket, as in unix:/run/dormouse.sock")]
    Path,
}

impl OperatorsAddress {
    /// Changes the port, if it has one; 0 is any free one.
    pub fn set_port(&mut self, port: u16) {
        if let Self::Tcp(address) = self {
            address.set_port(port);
        }
    }
}

impl FromStr for OperatorsAddress {
    type Err = NotAnOperatorsAddress;

    fn from_str(text: &str) -> Result<Self, NotAnOperatorsAddress> {
        match text.strip_prefix("unix:") {
            Some("") => Err(NotAnOperatorsAddress::Path),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| NotAnOperatorsAddress::Address),
        }
    }
}

impl From<SocketAddr> for OperatorsAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address.into())
    }
}

impl fmt::Display for OperatorsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for OperatorsAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OperatorsAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_and_printed() {
        for text in ["127.0.0.1:7700", "[::1]:0", "localhost:7700", "a-b.example:1"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "localhost",
            ":7700",
            "localhost:",
            "localhost:70000",
            "a b:1",
            "http://a:1",
            "::1:1",
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(NotAnAddress), "{text:?}");
        }
    }

    #[test]
    fn operators_may_have_a_unix_socket() {
        for text in ["127.0.0.1:7701", "unix:/run/dormouse.sock", "unix:./a b"] {
            assert_eq!(text.parse::<OperatorsAddress>().unwrap().to_string(), text);
        }
        for (text, why) in [
            ("unix:", NotAnOperatorsAddress::Path),
            ("/run/dormouse.sock", NotAnOperatorsAddress::Address),
        ] {
            assert_eq!(text.parse::<OperatorsAddress>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn an_address_is_its_own_and_localhost_has_at_least_one() {
        let address: SocketAddr = "127.0.0.1:7700".parse().unwrap();
        assert_eq!(ListenAddress::from(address).resolve().unwrap(), [address]);
        let localhost: ListenAddress = "localhost:7700".parse().unwrap();
        let found = localhost.resolve().unwrap();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()));
    }
}
