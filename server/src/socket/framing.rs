//! Messages as frames in the form that a connection has agreed on: compressed where that is worth it, and once for all who share
//! a message.

use bytes::Bytes;
use dormouse_protocol::Encoding;

use super::deflate::deflate;
use super::form::Form;
use super::frame::{self, Opcode};
use crate::object::Encoded;

/// A message for one connection.
pub(super) fn message(form: Form, payload: &[u8]) -> Bytes {
    data(frame::opcode(form.encoding), form.deflated, payload)
}

/// A message of any kind for one connection, which takes compressed ones or not.
pub(super) fn data(opcode: Opcode, takes_deflated: bool, payload: &[u8]) -> Bytes {
    match takes_deflated.then(|| deflate(payload)).flatten() {
        Some(small) => frame::deflated(opcode, &small),
        None => frame::data(opcode, payload),
    }
}

/// A message that others get, too.
pub(super) fn encoded(form: Form, message: &Encoded) -> Bytes {
    let opcode = frame::opcode(form.encoding);
    match packed(form, message) {
        Some(small) => frame::deflated(opcode, small),
        None => frame::data(opcode, message),
    }
}

/// The same without a copy of its payload, which stands behind its header.
pub(super) fn shared(form: Form, message: &Encoded) -> [Bytes; 2] {
    let packed = packed(form, message);
    let payload: &Bytes = packed.unwrap_or(message);
    let header = frame::header(frame::opcode(form.encoding), packed.is_some(), payload.len());
    [header, payload.clone()]
}

fn packed(form: Form, message: &Encoded) -> Option<&Bytes> {
    let pack = |payload: &[u8]| deflate(payload).map(Bytes::from);
    form.deflated.then(|| message.packed(pack)).flatten()
}

/// A message as a frame that connections of several reactors share.
pub(super) struct Framed {
    frame: Encoded,
    /// Bytes of the frame before the message.
    header: usize,
}

impl Framed {
    pub(super) fn new(encoding: Encoding, payload: &[u8]) -> Self {
        let frame = frame::message(encoding, payload);
        Self { header: frame.len() - payload.len(), frame: frame.into() }
    }

    /// The frame for a connection that speaks this encoding.
    pub(super) fn in_form(&self, form: Form) -> &Bytes {
        let compress = |whole: &[u8]| {
            let small = deflate(&whole[self.header..])?;
            Some(frame::deflated(frame::opcode(form.encoding), &small))
        };
        form.deflated.then(|| self.frame.packed(compress)).flatten().unwrap_or(&self.frame)
    }

    pub(super) fn len(&self) -> usize {
        self.frame.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_take_it_get_a_compressed_frame_and_all_of_them_the_same() {
        let message = vec![b' '; 1_000];
        let [plain, deflated] = [Form::ALL[1], Form::ALL[3]];
        let framed = Framed::new(Encoding::Json, &message);
        assert_eq!(framed.in_form(plain)[..4], [0x81, 126, 3, 232]);
        assert_eq!(framed.in_form(deflated)[0], 0xC1);
        assert_eq!(framed.in_form(deflated).as_ptr(), framed.in_form(deflated).as_ptr());
        let whole = super::message(deflated, &message);
        assert_eq!(framed.in_form(deflated), &whole);
        let shared = Encoded::from(message);
        assert_eq!(encoded(deflated, &shared), whole);
        let [header, payload] = super::shared(deflated, &shared);
        assert_eq!([&header[..], &payload[..]].concat(), whole);
        assert_eq!(payload.as_ptr(), super::shared(deflated, &shared)[1].as_ptr());
        assert_eq!(encoded(plain, &shared), *framed.in_form(plain));
    }

    #[test]
    fn a_short_message_is_the_same_for_all() {
        let framed = Framed::new(Encoding::Msgpack, b"short");
        assert_eq!(framed.in_form(Form::ALL[2]), framed.in_form(Form::ALL[0]));
        assert_eq!(framed.len(), 7);
    }
}
