//! From bytes to messages: fragments, control frames between them, compression, UTF-8, limits. No I/O.
//!
//! A decoder between two messages owns nothing: it is one pointer that is null. Frames that arrive whole, as nearly
//! all do, are unmasked where they lie and never copied.

use dormouse_protocol::CloseCode;

use super::deflate;
use super::frame::{
    Header, MAX_CONTROL, MAX_HEADER, Opcode, Violation, is_valid_close_code, unmask,
};
use crate::limits::{Budget, Held, Purpose};

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    /// The peer closes; with its code, if it gave one.
    Close(Option<u16>),
}

impl Incoming<'_> {
    /// Whether it may stand between the fragments of a message.
    pub(super) fn is_control(&self) -> bool {
        match self {
            Self::Text(_) | Self::Binary(_) => false,
            Self::Ping(_) | Self::Pong | Self::Close(_) => true,
        }
    }

    /// Bytes of a message; control frames have next to none.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Ping(_) | Self::Pong | Self::Close(_) => 0,
        }
    }
}

/// Fragments that a message may have, and one more for each so many bytes that it may be long: empty ones would come for ever.
const FRAGMENTS: usize = 1024;
const FRAGMENT_BYTES: usize = 16;

/// Bytes that were read; what is taken is cut off their front.
pub(super) type Input<'a> = &'a mut [u8];

/// Decodes the frames of one client.
#[derive(Default)]
pub(super) struct Decoder(Option<Box<Partial>>);

/// What has begun and not ended.
#[derive(Default)]
struct Partial {
    /// The first bytes of a header that is not complete.
    header: [u8; MAX_HEADER],
    header_len: usize,
    /// The frame whose payload is arriving, and how much of it has.
    frame: Option<(Header, u64)>,
    /// The payload of a control frame, which may stand between the fragments of a message.
    control: Vec<u8>,
    /// The message so far, unmasked.
    message: Vec<u8>,
    held: Held,
    /// What the message is, from its first frame on.
    kind: Option<Kind>,
    /// How much of it is known to be UTF-8, if it is text.
    valid: usize,
    /// How many frames of it there were after the first.
    fragments: usize,
}

#[derive(Clone, Copy)]
struct Kind {
    opcode: Opcode,
    deflated: bool,
}

impl Partial {
    fn is_idle(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.kind.is_none()
    }
}

impl Decoder {
    pub(super) const NEW: Self = Self(None);

    /// Whether it is between two messages. What was given out last must have been used.
    pub(super) fn is_idle(&self) -> bool {
        self.0.as_ref().is_none_or(|partial| partial.is_idle())
    }

    /// The memory of a message of which only a part has arrived.
    pub(super) fn held_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |partial| partial.message.capacity())
    }

    /// Makes sure that there is memory for so many more bytes of a message; false if there is none.
    #[must_use]
    pub(super) fn try_reserve(&mut self, bytes: usize, budget: &Budget) -> bool {
        let Some(partial) = &mut self.0 else { return budget.has_room(bytes) };
        let held = partial.message.capacity();
        // It doubles where it has to grow.
        partial.held.try_hold(budget, Purpose::Input, held + held.max(bytes))
    }

    /// Takes the next message off the front of `input`; `None` when it needs more bytes, and then all of `input` is
    /// taken. A message may be at most `limit` bytes long, over all its fragments, and when it has been inflated; whether it may
    /// be compressed at all is `deflates`. What has to be kept of it counts in the budget. An inflated message that finds no room
    /// there is a violation with the code `overloaded`.
    pub(super) fn next<'decoder, 'input: 'decoder>(
        &'decoder mut self,
        input: &mut Input<'input>,
        limit: usize,
        deflates: bool,
        budget: &Budget,
    ) -> Result<Option<Incoming<'decoder>>, Violation> {
        // What the call before gave out has been used by now.
        if self.0.as_ref().is_some_and(|partial| partial.is_idle()) {
            self.0 = None;
        }
        if self.0.is_none()
            && let Some((header, header_len)) = Header::parse(input)?
            && header.fin
            && !header.deflated
            && header.len <= (input.len() - header_len) as u64
        {
            check(&header, None, 0, limit)?;
            let (_, rest) = std::mem::take(input).split_at_mut(header_len);
            let (payload, rest) = rest.split_at_mut(header.len as usize);
            *input = rest;
            unmask(payload, header.mask, 0);
            return deliver(header.opcode, payload).map(Some);
        }
        if input.is_empty() {
            return Ok(None);
        }
        self.0.get_or_insert_default().next(input, limit, deflates, budget)
    }
}

impl Partial {
    fn next(
        &mut self,
        input: &mut Input<'_>,
        limit: usize,
        deflates: bool,
        budget: &Budget,
    ) -> Result<Option<Incoming<'_>>, Violation> {
        loop {
            let (header, done) = match self.frame {
                Some(frame) => frame,
                None => match self.read_header(input, limit, deflates)? {
                    Some(header) => (header, 0),
                    None => return Ok(None),
                },
            };
            let wanted = usize::try_from(header.len - done).unwrap_or(usize::MAX);
            let available = wanted.min(input.len());
            let (payload, rest) = std::mem::take(input).split_at_mut(available);
            *input = rest;
            unmask(payload, header.mask, done);
            let target =
                if header.opcode.is_control() { &mut self.control } else { &mut self.message };
            target.extend_from_slice(payload);
            self.held.hold(budget, self.message.capacity());
            let done = done + payload.len() as u64;
            let is_whole = done == header.len;
            let is_end = header.opcode.is_control() || is_whole && header.fin;
            if !is_end {
                self.check_text()?;
            }
            if !is_whole {
                self.frame = Some((header, done));
                return Ok(None);
            }
            self.frame = None;
            if header.opcode.is_control() {
                return deliver(header.opcode, &self.control).map(Some);
            }
            if header.fin {
                let Kind { opcode, deflated } = self.kind.take().expect("a message has begun");
                if deflated {
                    let mut held = Held::default();
                    self.message = deflate::inflate(&self.message, limit, budget, &mut held)?;
                    self.held = held;
                }
                return deliver(opcode, &self.message).map(Some);
            }
        }
    }

    /// Text that goes wrong is refused at once, and not only when its end has come.
    fn check_text(&mut self) -> Result<(), Violation> {
        if !self.kind.is_some_and(|kind| kind.opcode == Opcode::Text && !kind.deflated) {
            return Ok(());
        }
        match std::str::from_utf8(&self.message[self.valid..]) {
            Ok(_) => self.valid = self.message.len(),
            // The last character may go on.
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(Violation(CloseCode::InvalidUtf8)),
        }
        Ok(())
    }

    fn read_header(
        &mut self,
        input: &mut Input<'_>,
        limit: usize,
        deflates: bool,
    ) -> Result<Option<Header>, Violation> {
        let room = &mut self.header[self.header_len..];
        let taken = room.len().min(input.len());
        room[..taken].copy_from_slice(&input[..taken]);
        let Some((header, len)) = Header::parse(&self.header[..self.header_len + taken])? else {
            self.header_len += taken;
            *input = &mut std::mem::take(input)[taken..];
            return Ok(None);
        };
        if header.deflated && !deflates {
            return Err(Violation(CloseCode::ProtocolError));
        }
        let begun = self.kind.map(|kind| kind.opcode);
        let is_deflated = header.deflated || self.kind.is_some_and(|kind| kind.deflated);
        let limit = if is_deflated { deflate::bound(limit) } else { limit };
        check(&header, begun, self.message.len(), limit)?;
        let used = len - self.header_len;
        *input = &mut std::mem::take(input)[used..];
        self.header_len = 0;
        if header.opcode.is_control() {
            self.control.clear();
        } else if header.opcode == Opcode::Continuation {
            self.fragments += 1;
            if self.fragments > FRAGMENTS + limit / FRAGMENT_BYTES {
                return Err(Violation(CloseCode::TooLarge));
            }
        } else {
            self.kind = Some(Kind { opcode: header.opcode, deflated: header.deflated });
        }
        Ok(Some(header))
    }
}

/// Whether a frame may stand here, and fits.
fn check(
    header: &Header,
    message: Option<Opcode>,
    so_far: usize,
    limit: usize,
) -> Result<(), Violation> {
    let in_place = match header.opcode {
        Opcode::Continuation => message.is_some(),
        Opcode::Text | Opcode::Binary => message.is_none(),
        Opcode::Close | Opcode::Ping | Opcode::Pong => return Ok(()),
    };
    if !in_place {
        return Err(Violation(CloseCode::ProtocolError));
    }
    if header.len > (limit - so_far.min(limit)) as u64 {
        return Err(Violation(CloseCode::TooLarge));
    }
    Ok(())
}

fn deliver(kind: Opcode, payload: &[u8]) -> Result<Incoming<'_>, Violation> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Violation(CloseCode::InvalidUtf8));
    match kind {
        Opcode::Text => text(payload).map(Incoming::Text),
        Opcode::Binary | Opcode::Continuation => Ok(Incoming::Binary(payload)),
        Opcode::Ping => Ok(Incoming::Ping(payload)),
        Opcode::Pong => Ok(Incoming::Pong),
        Opcode::Close => match payload {
            [] => Ok(Incoming::Close(None)),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !is_valid_close_code(code) {
                    return Err(Violation(CloseCode::ProtocolError));
                }
                text(reason)?;
                Ok(Incoming::Close(Some(code)))
            }
            [_] => Err(Violation(CloseCode::ProtocolError)),
        },
    }
}

const _: () = assert!(MAX_CONTROL < 126, "control frames have a short length");

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;
