//! One hostile peer: its connection, and what of its words the system has not taken yet.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, SockAddr, Socket, Type};

use super::attack::{Refrain, Script};
use crate::drive::frame::{self, Opcode};

/// How long the server may take to let a peer connect or join, before it tries anew.
const PATIENCE: Duration = Duration::from_secs(1);
/// The address of the peers, if the server is on this machine. It differs from that of the members, so each side has its own rate limits.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// What the system takes in for one that does not read: the least that Linux gives.
const RECEIVE_BUFFER: usize = 2 << 10;

/// A peer that is connected.
pub(super) struct Peer {
    stream: TcpStream,
    refrain: Vec<u8>,
    /// Where it is in its refrain.
    said: usize,
}

impl Peer {
    /// Connects, greets, and joins its room if it is to have one.
    pub(super) fn connect(
        address: SocketAddr,
        script: &Script,
        room: Option<&str>,
        buffer: &mut [u8],
    ) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if !script.reads {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            socket.bind(&SocketAddr::from((SOURCE, 0)).into())?;
        }
        socket.connect_timeout(&SockAddr::from(address), PATIENCE)?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&script.greeting)?;
        let object = match room {
            Some(room) => join(&mut stream, room, buffer)?,
            None => 0,
        };
        stream.set_nonblocking(true)?;
        let refrain = match &script.refrain {
            Refrain::Bytes(bytes) => bytes.clone(),
            Refrain::Requests(requests) => {
                let mut out = Vec::new();
                for request in requests(object, room.unwrap_or_default()).lines() {
                    write(&mut out, request);
                }
                out
            }
        };
        Ok(Self { stream, refrain, said: 0 })
    }

    /// Says its refrain, or goes on with it where the system took only a part. False when the connection is over.
    pub(super) fn act(&mut self, reads: bool, buffer: &mut [u8]) -> bool {
        if reads {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        if self.refrain.is_empty() {
            return true;
        }
        match self.stream.write(&self.refrain[self.said..]) {
            Ok(count) => {
                self.said = (self.said + count) % self.refrain.len();
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn write(out: &mut Vec<u8>, request: &str) {
    frame::write(out, Opcode::Text, |out| out.extend_from_slice(request.as_bytes()));
}

/// Joins a room and gives its number.
fn join(stream: &mut TcpStream, room: &str, buffer: &mut [u8]) -> Result<u64> {
    let mut request = Vec::new();
    write(&mut request, &format!("{{\"join\":{{\"id\":1,\"object\":\"{room}\"}}}}"));
    stream.write_all(&request)?;
    let mut seen = Vec::new();
    loop {
        let count = stream.read(buffer)?;
        ensure!(count > 0, "the server has closed");
        seen.extend_from_slice(&buffer[..count]);
        if let Some(object) = number_in(&String::from_utf8_lossy(&seen)) {
            return object.parse().context("the number of a room");
        }
    }
}

/// The digits of the object's number in a `joined` that is there whole, as far as its frame is text.
fn number_in(seen: &str) -> Option<&str> {
    let (_, joined) = seen.split_once("{\"joined\":")?;
    let (body, _) = joined.split_once('}')?;
    let (_, number) = body.split_once("\"object\":")?;
    number.split(|c: char| !c.is_ascii_digit()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_room_is_found_once_it_is_there() {
        let seen = "HTTP/1.1 101\r\n\r\n..{\"welcome\":{\"limits\":{}}}..{\"joined\":{\"id\":1,\"object\":17,\"epoch\":5}}";
        assert_eq!(number_in(seen), Some("17"));
        for end in 0..seen.len() - 1 {
            assert_eq!(number_in(&seen[..end]), None, "{end}");
        }
    }
}
