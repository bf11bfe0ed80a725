//! Messages as frames in the format that a connection has agreed on: compressed where that is worth it, and once for all who share
//! a message. A frame that is shared carries the permit for its memory.

use std::sync::Arc;

use bytes::Bytes;

use super::deflate::deflate;
use super::frame::{self, Opcode};
use super::wire_format::WireFormat;
use crate::limits::{Budget, Purpose};
use crate::object::Encoded;
use crate::object::presence::RosterFrames;

/// A message for one connection.
pub(super) fn message(format: WireFormat, payload: &[u8]) -> Bytes {
    data(frame::opcode(format.encoding), format.deflated, payload)
}

/// A message of any kind for one connection, which takes compressed ones or not.
pub(super) fn data(opcode: Opcode, takes_deflated: bool, payload: &[u8]) -> Bytes {
    match takes_deflated.then(|| deflate(payload)).flatten() {
        Some(small) => frame::deflated(opcode, &small),
        None => frame::data(opcode, payload),
    }
}

/// A message that others get, too; none where the budget has no room for the frame.
pub(super) fn encoded(format: WireFormat, message: &Encoded, budget: &Budget) -> Option<Bytes> {
    let opcode = frame::opcode(format.encoding);
    let compressed = compressed(format, message);
    let bytes = frame::MAX_HEADER + compressed.unwrap_or(message).len();
    let permit = budget.try_acquire(Purpose::Delivery, bytes)?;
    Some(permit.attach(match compressed {
        Some(small) => frame::deflated(opcode, small),
        None => frame::data(opcode, message),
    }))
}

/// A roster as a frame whose payload is not copied: it stands behind its header, and keeps the roster with its permit.
pub(super) fn roster(format: WireFormat, roster: &Arc<RosterFrames>) -> [Bytes; 2] {
    let message = roster.encoded(format.encoding);
    let compressed = compressed(format, message);
    let payload: &Bytes = compressed.unwrap_or(message);
    let header = frame::header(frame::opcode(format.encoding), compressed.is_some(), payload.len());
    let payload =
        Bytes::from_owner(RosterPayload { bytes: payload.clone(), _roster: roster.clone() });
    [header, payload]
}

struct RosterPayload {
    bytes: Bytes,
    _roster: Arc<RosterFrames>,
}

impl AsRef<[u8]> for RosterPayload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn compressed(format: WireFormat, message: &Encoded) -> Option<&Bytes> {
    let compress = |payload: &[u8]| deflate(payload).map(Bytes::from);
    format.deflated.then(|| message.compressed(compress)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_take_it_get_a_compressed_frame_and_all_of_them_the_same() {
        let (message, budget) = (vec![b' '; 1_000], Budget::unlimited());
        let [plain, deflated] = [WireFormat::ALL[1], WireFormat::ALL[3]];
        let shared = Encoded::from(message.clone());
        let plain = encoded(plain, &shared, &budget).unwrap();
        assert_eq!(plain[..4], [0x81, 126, 3, 232]);
        let small = encoded(deflated, &shared, &budget).unwrap();
        assert_eq!(small[0], 0xC1);
        assert_eq!(small, super::message(deflated, &message));
    }

    #[test]
    fn a_short_message_is_the_same_for_all() {
        let (short, budget) = (Encoded::from(b"short".to_vec()), Budget::unlimited());
        let frame = encoded(WireFormat::ALL[0], &short, &budget).unwrap();
        assert_eq!(encoded(WireFormat::ALL[2], &short, &budget).unwrap(), frame);
        assert_eq!(frame.len(), 7);
    }

    #[test]
    fn what_the_budget_has_no_room_for_is_not_framed() {
        let budget = Budget::new(100, &prometheus::Registry::new()).unwrap();
        let (short, long) = (Encoded::from(vec![0; 50]), Encoded::from(vec![0; 100]));
        let frame = encoded(WireFormat::ALL[0], &short, &budget).unwrap();
        assert!(encoded(WireFormat::ALL[0], &long, &budget).is_none());
        drop(frame);
        assert_eq!(budget.in_use(), 0);
    }
}
