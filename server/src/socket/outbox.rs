//! What waits to be written to one socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes};

/// Frames that one system call takes.
const SLICES: usize = 64;

/// What a waiting frame takes besides its bytes, roughly: without it, many empty frames would count for nothing.
const FRAME_COST: usize = 64;

/// What one call of [`Outbox::write_to`] has done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) bytes: usize,
    /// Nothing is left.
    pub(super) all: bool,
}

/// Frames in order, shared with whoever else gets them. Owns no memory while empty.
#[derive(Default)]
pub(super) struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    pub(super) const NEW: Self = Self { frames: VecDeque::new(), bytes: 0 };

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len() + FRAME_COST;
        self.frames.push_back(frame);
    }

    /// Memory that what waits takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes as much as the socket takes, many frames at a time.
    pub(super) fn write_to(&mut self, socket: &mut impl Write) -> io::Result<Written> {
        let mut bytes = 0;
        while !self.frames.is_empty() {
            match self.write_some(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes += written;
                    self.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Written { bytes, all: false });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.frames = VecDeque::new();
        Ok(Written { bytes, all: true })
    }

    fn write_some(&self, socket: &mut impl Write) -> io::Result<usize> {
        // One frame is the common case, and the system takes it with less ado.
        if let [frame] = self.frames.as_slices().0
            && self.frames.len() == 1
        {
            return socket.write(frame);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        socket.write_vectored(&slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(frame) = self.frames.front_mut() {
            if written < frame.len() {
                return frame.advance(written);
            }
            written -= frame.len();
            self.bytes -= FRAME_COST;
            self.frames.pop_front();
        }
    }
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
        let mut socket = Narrow(Vec::new());
        assert_eq!(outbox.write_to(&mut socket).unwrap(), Written { bytes: 7, all: false });
        assert_eq!((&*socket.0, outbox.bytes()), (&b"abcdefg"[..], 3 + FRAME_COST));
        socket.0.clear();
        assert_eq!(outbox.write_to(&mut socket).unwrap(), Written { bytes: 3, all: true });
        assert_eq!((&*socket.0, outbox.bytes()), (&b"hij"[..], 0));
        assert!(outbox.frames.is_empty());
    }
}
