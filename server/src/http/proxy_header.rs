//! The header of the PROXY protocol, version 2: a proxy begins a connection with it, and it has the client's address.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.2.

use std::io;
use std::net::IpAddr;

use ppp::v2::{Addresses, Command, Header};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes of the part that is always there; its last two are the length of the rest.
const FIXED_BYTES: usize = 16;
/// Bytes of the rest: addresses and extensions.
const MAX_REST: usize = 4 << 10;

/// Reads the header and nothing behind it. `None` for a connection of the proxy itself, such as a health check, and for a header
/// without an IP address.
pub(super) async fn read(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; FIXED_BYTES];
    socket.read_exact(&mut header).await?;
    if !header.starts_with(ppp::v2::PROTOCOL_PREFIX) {
        return Err(invalid("no header"));
    }
    let rest = u16::from_be_bytes([header[FIXED_BYTES - 2], header[FIXED_BYTES - 1]]);
    let rest = usize::from(rest);
    if rest > MAX_REST {
        return Err(invalid("the header is too large"));
    }
    header.resize(FIXED_BYTES + rest, 0);
    socket.read_exact(&mut header[FIXED_BYTES..]).await?;
    client(&header)
}

/// The client that a whole header names.
pub(super) fn client(header: &[u8]) -> io::Result<Option<IpAddr>> {
    let header = Header::try_from(header).map_err(|error| invalid(&error.to_string()))?;
    Ok(match (header.command, header.addresses) {
        (Command::Proxy, Addresses::IPv4(addresses)) => Some(addresses.source_address.into()),
        (Command::Proxy, Addresses::IPv6(addresses)) => Some(addresses.source_address.into()),
        (Command::Local, _) | (_, Addresses::Unspecified | Addresses::Unix(_)) => None,
    })
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with this command and family, and these bytes behind the fixed part.
    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = ppp::v2::PROTOCOL_PREFIX.to_vec();
        bytes.extend([command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    async fn read_all(bytes: &[u8]) -> (Result<Option<IpAddr>, io::ErrorKind>, usize) {
        let mut socket = bytes;
        let client = read(&mut socket).await;
        (client.map_err(|error| error.kind()), socket.len())
    }

    #[tokio::test]
    async fn a_header_names_the_client_and_ends_where_http_begins() {
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 0x01]);
        let with_more = [&IPV4[..], &[4, 0, 2, 9, 9]].concat();
        for (bytes, client) in [
            (header(0x21, 0x11, &IPV4), Some("192.0.2.7")),
            (header(0x21, 0x11, &with_more), Some("192.0.2.7")),
            (header(0x21, 0x21, &v6), Some("2001::")),
            (header(0x20, 0x00, &[]), None),
            (header(0x20, 0x11, &IPV4), None),
            (header(0x21, 0x00, &[]), None),
        ] {
            let client = client.map(|text| text.parse().unwrap());
            let followed = [&bytes[..], b"GET /"].concat();
            assert_eq!(read_all(&followed).await, (Ok(client), 5), "{bytes:?}");
            for end in 0..bytes.len() {
                let (cut, _) = read_all(&bytes[..end]).await;
                assert_eq!(cut, Err(io::ErrorKind::UnexpectedEof), "{end} of {bytes:?}");
            }
        }
    }

    #[tokio::test]
    async fn anything_else_is_no_header() {
        let mut large = header(0x21, 0x11, &IPV4);
        large[14] = 0xFF;
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(),
            header(0x11, 0x11, &IPV4),
            header(0x2F, 0x11, &IPV4),
            header(0x21, 0x11, &IPV4[..4]),
            large,
        ] {
            let (client, _) = read_all(&bytes).await;
            assert_eq!(client, Err(io::ErrorKind::InvalidData), "{bytes:?}");
        }
    }
}
