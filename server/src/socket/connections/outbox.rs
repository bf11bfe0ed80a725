//! What waits to be written to one socket.
//!
//! A shared frame carries the permit for its memory; the outbox itself counts what it holds alone.

use std::collections::VecDeque;
use std::io::{self, Write};

use bytes::{Buf, Bytes};

/// Frames are joined up to so many bytes: to copy them is cheaper than to have the system gather them.
pub(in crate::socket) const JOINED_BYTES: usize = 16 * 1024;

/// What a waiting frame takes besides its bytes, roughly: without it, many empty frames would count for nothing.
const FRAME_COST: usize = 64;

/// What one call of [`Outbox::write_to`] has done.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::socket) struct Written {
    pub(in crate::socket) bytes: usize,
    /// Nothing is left.
    pub(in crate::socket) all: bool,
}

/// Frames in order. Owns no memory for a single one, which is the common case.
#[derive(Default)]
pub(in crate::socket) struct Outbox {
    first: Option<Frame>,
    /// Those behind it.
    rest: VecDeque<Frame>,
    bytes: usize,
    /// Of those, the bytes that no other permit covers.
    own_bytes: usize,
}

/// A frame or a part of it.
struct Frame {
    bytes: Bytes,
    /// It carries the permit for its bytes.
    is_shared: bool,
}

impl Frame {
    /// The bytes that are the outbox's own, of so many of its bytes.
    fn own(&self, bytes: usize) -> usize {
        if self.is_shared { 0 } else { bytes }
    }
}

impl Outbox {
    pub(in crate::socket) const NEW: Self =
        Self { first: None, rest: VecDeque::new(), bytes: 0, own_bytes: 0 };

    pub(in crate::socket) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Queues a frame for this connection alone.
    pub(in crate::socket) fn push(&mut self, bytes: Bytes) {
        self.push_back(Frame { bytes, is_shared: false });
    }

    /// Queues a frame that carries the permit for its memory.
    pub(in crate::socket) fn push_shared(&mut self, bytes: Bytes) {
        self.push_back(Frame { bytes, is_shared: true });
    }

    /// The same, before all others.
    pub(in crate::socket) fn push_shared_front(&mut self, bytes: Bytes) {
        let frame = Frame { bytes, is_shared: true };
        self.count(&frame);
        if let Some(second) = self.first.replace(frame) {
            self.rest.push_front(second);
        }
    }

    /// Memory that what waits takes, roughly.
    pub(in crate::socket) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The part of it that no frame carries a permit for.
    pub(in crate::socket) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    fn push_back(&mut self, frame: Frame) {
        self.count(&frame);
        match self.first {
            None => self.first = Some(frame),
            Some(_) => self.rest.push_back(frame),
        }
    }

    fn count(&mut self, frame: &Frame) {
        self.bytes += frame.bytes.len() + FRAME_COST;
        self.own_bytes += frame.own(frame.bytes.len()) + FRAME_COST;
    }

    /// Writes as much as the socket takes, many frames at a time, which are joined in `buffer`.
    pub(in crate::socket) fn write_to(
        &mut self,
        socket: &mut impl Write,
        buffer: &mut [u8],
    ) -> io::Result<Written> {
        let mut bytes = 0;
        while let Some(next) = self.next(buffer) {
            let len = next.len();
            let written = write(socket, next)?;
            bytes += written;
            self.advance(written);
            if written < len {
                return Ok(Written { bytes, all: false });
            }
        }
        self.rest = VecDeque::new();
        Ok(Written { bytes, all: true })
    }

    /// What one system call is to take: a large frame by itself, or as many as can be joined.
    fn next<'a>(&'a self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let first = &self.first.as_ref()?.bytes;
        let most = buffer.len().min(JOINED_BYTES);
        if self.rest.is_empty() || first.len() > most {
            return Some(first);
        }
        let mut end = 0;
        for frame in std::iter::once(first).chain(self.rest.iter().map(|frame| &frame.bytes)) {
            let Some(space) = buffer[..most].get_mut(end..end + frame.len()) else { break };
            space.copy_from_slice(frame);
            end += frame.len();
        }
        Some(&buffer[..end])
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(frame) = &mut self.first {
            let len = frame.bytes.len();
            self.own_bytes -= frame.own(len.min(written));
            if written < len {
                return frame.bytes.advance(written);
            }
            written -= len;
            self.bytes -= FRAME_COST;
            self.own_bytes -= FRAME_COST;
            self.first = self.rest.pop_front();
        }
    }
}

/// Writes until the socket takes nothing more; how much it took.
pub(in crate::socket) fn write(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that takes three bytes at a time, seven in all.
    struct Narrow(Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = 7 - self.0.len();
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = &bytes[..bytes.len().min(3).min(room)];
            self.0.extend_from_slice(taken);
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_socket_that_takes_little_gets_everything_in_order() {
        let mut outbox = Outbox::default();
        for frame in ["ab", "cdefg", "", "hij"] {
            outbox.push(Bytes::from_static(frame.as_bytes()));
        }
        outbox.push_shared(Bytes::from_static(b"k"));
        assert_eq!(
            (outbox.bytes(), outbox.own_bytes()),
            (11 + 5 * FRAME_COST, 10 + 5 * FRAME_COST)
        );
        let mut socket = Narrow(Vec::new());
        // In which two of the frames can be joined.
        let mut buffer = [0; 7];
        let written = outbox.write_to(&mut socket, &mut buffer).unwrap();
        assert_eq!(written, Written { bytes: 7, all: false });
        assert_eq!((&*socket.0, outbox.bytes()), (&b"abcdefg"[..], 4 + 2 * FRAME_COST));
        socket.0.clear();
        let written = outbox.write_to(&mut socket, &mut buffer).unwrap();
        assert_eq!(written, Written { bytes: 4, all: true });
        assert_eq!((&*socket.0, outbox.bytes(), outbox.own_bytes()), (&b"hijk"[..], 0, 0));
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_is_put_in_front_goes_first() {
        let mut outbox = Outbox::default();
        for frame in ["b", "c"] {
            outbox.push(Bytes::from_static(frame.as_bytes()));
        }
        outbox.push_shared_front(Bytes::from_static(b"a"));
        let mut socket = Narrow(Vec::new());
        assert!(outbox.write_to(&mut socket, &mut [0; 7]).unwrap().all);
        assert_eq!((&*socket.0, outbox.bytes()), (&b"abc"[..], 0));
    }
}
