//! A case: what is sent, in which pieces, and what must come back.

use crate::raw::frame;

pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xA;
const FIN: u8 = 0x80;

/// One connection's worth of behaviour.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// As the Autobahn|Testsuite numbers it.
    pub(super) id: String,
    pub(super) steps: Vec<Step>,
    /// Everything that comes back, in order.
    pub(super) back: Vec<Back>,
    pub(super) end: End,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// One write.
    Send(Vec<u8>),
    /// The next of what comes back has to be there before anything more is sent.
    Wait,
}

/// What the server sends, besides its close.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Back {
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

/// How the connection ends; in the end it is always the server that closes the socket.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// The client closes when all has come back, and its close is answered.
    Client,
    /// The client has sent its close among the rest; the server answers with one of these codes.
    Answered(&'static [u16]),
    /// The server fails the connection, with one of these codes.
    Failed(&'static [u16]),
}

/// A frame that ends its message, or a control frame.
pub(super) fn whole(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(FIN | opcode, payload)
}

/// A frame that does not.
pub(super) fn begun(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(opcode, payload)
}

/// A frame with reserved bits, 1 to 7.
pub(super) fn reserved(rsv: u8, opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(FIN | rsv << 4 | opcode, payload)
}

pub(super) fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    whole(CLOSE, &[&code.to_be_bytes()[..], reason].concat())
}

/// A message in frames of `size` bytes at most.
pub(super) fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<_> = payload.chunks(size).collect();
    let last = pieces.len() - 1;
    let fragment = |(index, piece): (usize, &&[u8])| {
        let opcode = if index == 0 { opcode } else { 0 };
        if index == last { whole(opcode, piece) } else { begun(opcode, piece) }
    };
    pieces.iter().enumerate().map(fragment).collect()
}

impl Back {
    pub(super) fn text(payload: &[u8]) -> Self {
        Self { opcode: TEXT, payload: payload.into() }
    }

    pub(super) fn pong(payload: &[u8]) -> Self {
        Self { opcode: PONG, payload: payload.into() }
    }
}

impl std::fmt::Debug for Back {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.payload[..self.payload.len().min(40)];
        write!(f, "{:X}({} bytes: {})", self.opcode, self.payload.len(), shown.escape_ascii())
    }
}

impl Case {
    /// A case that the client ends.
    pub(super) fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), steps: Vec::new(), back: Vec::new(), end: End::Client }
    }

    pub(super) fn send(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Send(bytes.into()));
        self
    }

    /// Sends each frame in a write of its own.
    pub(super) fn frame_wise(self, frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        frames.into_iter().fold(self, Self::send)
    }

    /// Sends all frames in one write.
    pub(super) fn at_once(self, frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.send(frames.into_iter().collect::<Vec<_>>().concat())
    }

    /// Sends all frames in writes of so many bytes.
    pub(super) fn chopped(self, size: usize, frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let bytes = frames.into_iter().collect::<Vec<_>>().concat();
        bytes.chunks(size).fold(self, Self::send)
    }

    /// Something must have come back by now.
    pub(super) fn wait(mut self, back: Back) -> Self {
        self.steps.push(Step::Wait);
        self.back(back)
    }

    /// Something comes back.
    pub(super) fn back(mut self, back: Back) -> Self {
        self.back.push(back);
        self
    }

    /// A message comes back.
    pub(super) fn echoes(self, opcode: u8, payload: &[u8]) -> Self {
        self.back(Back { opcode, payload: payload.into() })
    }

    pub(super) fn fails(mut self, codes: &'static [u16]) -> Self {
        self.end = End::Failed(codes);
        self
    }

    /// The close that was sent is answered.
    pub(super) fn answered(mut self, codes: &'static [u16]) -> Self {
        self.end = End::Answered(codes);
        self
    }

    /// The same, octet by octet.
    pub(super) fn octet_wise(&self) -> Self {
        let octets = |step: &Step| match step {
            Step::Send(bytes) => bytes.iter().map(|byte| Step::Send(vec![*byte])).collect(),
            Step::Wait => vec![Step::Wait],
        };
        let id = format!("{}, octet by octet", self.id);
        Self { id, steps: self.steps.iter().flat_map(octets).collect(), ..self.clone() }
    }

    pub(super) fn sent_bytes(&self) -> usize {
        let bytes = |step: &Step| if let Step::Send(bytes) = step { bytes.len() } else { 0 };
        self.steps.iter().map(bytes).sum()
    }
}
