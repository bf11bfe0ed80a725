//! Messages as frames in the form that a connection has agreed on: compressed where that is worth it, and once for all who share
//! a message.

use bytes::Bytes;

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
    match compressed(form, message) {
        Some(small) => frame::deflated(opcode, small),
        None => frame::data(opcode, message),
    }
}

/// The same without a copy of its payload, which stands behind its header.
pub(super) fn shared(form: Form, message: &Encoded) -> [Bytes; 2] {
    let compressed = compressed(form, message);
    let payload: &Bytes = compressed.unwrap_or(message);
    let header = frame::header(frame::opcode(form.encoding), compressed.is_some(), payload.len());
    [header, payload.clone()]
}

fn compressed(form: Form, message: &Encoded) -> Option<&Bytes> {
    let compress = |payload: &[u8]| deflate(payload).map(Bytes::from);
    form.deflated.then(|| message.compressed(compress)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_take_it_get_a_compressed_frame_and_all_of_them_the_same() {
        let message = vec![b' '; 1_000];
        let [plain, deflated] = [Form::ALL[1], Form::ALL[3]];
        let shared = Encoded::from(message.clone());
        assert_eq!(encoded(plain, &shared)[..4], [0x81, 126, 3, 232]);
        assert_eq!(encoded(deflated, &shared)[0], 0xC1);
        let whole = super::message(deflated, &message);
        assert_eq!(encoded(deflated, &shared), whole);
        let [header, payload] = super::shared(deflated, &shared);
        assert_eq!([&header[..], &payload[..]].concat(), whole);
        assert_eq!(payload.as_ptr(), super::shared(deflated, &shared)[1].as_ptr());
    }

    #[test]
    fn a_short_message_is_the_same_for_all() {
        let short = Encoded::from(b"short".to_vec());
        assert_eq!(encoded(Form::ALL[2], &short), encoded(Form::ALL[0], &short));
        assert_eq!(encoded(Form::ALL[0], &short).len(), 7);
    }
}
