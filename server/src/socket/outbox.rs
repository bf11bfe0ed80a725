//! What waits to be written to one socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes};

/// Frames that one system call takes.
const SLICES: usize = 64;

/// Frames in order, shared with whoever else gets them. Owns no memory while empty.
#[derive(Default)]
pub(super) struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes as much as the socket takes, many frames at a time; true when nothing is left.
    pub(super) fn write_to(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while !self.frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, frame) in slices.iter_mut().zip(&self.frames) {
                *slice = IoSlice::new(frame);
                count += 1;
            }
            match socket.write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.frames = VecDeque::new();
        Ok(true)
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(frame) = self.frames.front_mut() {
            if written < frame.len() {
                return frame.advance(written);
            }
            written -= frame.len();
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
        assert!(!outbox.write_to(&mut socket).unwrap());
        assert_eq!((&*socket.0, outbox.bytes()), (&b"abcdefg"[..], 3));
        socket.0.clear();
        assert!(outbox.write_to(&mut socket).unwrap());
        assert_eq!((&*socket.0, outbox.bytes()), (&b"hij"[..], 0));
        assert!(outbox.frames.is_empty());
    }
}
