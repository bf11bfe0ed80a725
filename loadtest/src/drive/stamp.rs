//! What every payload begins with: who published it, as which of its publishes, and when it was due. So a delivery is judged by
//! itself, and nothing has to be kept of what was sent.
//!
//! Plain text, so that every system and encoding carries it as it is: 32 hexadecimal digits, then filler.

use std::time::Duration;

/// Digits in front of the filler.
pub(crate) const BYTES_MIN: usize = 32;
const FILLER: u8 = b'.';

/// What a payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The number of who published it.
    pub(crate) publisher: u32,
    /// How many it had published before.
    pub(crate) sequence: u32,
    /// When it was due, since the run's start.
    pub(crate) due: Duration,
}

/// Writes and reads payloads of one length.
pub(crate) struct Stamper {
    /// The payload that was written last.
    payload: Vec<u8>,
}

impl Stamper {
    /// For payloads of so many bytes, which are [`BYTES_MIN`] or more.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { payload: vec![FILLER; bytes.max(BYTES_MIN)] }
    }

    /// The payload that says this.
    pub(crate) fn write(&mut self, stamp: Stamp) -> &[u8] {
        let due = stamp.due.as_nanos() as u64;
        let words = [stamp.publisher, stamp.sequence, (due >> 32) as u32, due as u32];
        for (digits, word) in self.payload.chunks_exact_mut(8).zip(words) {
            digits.copy_from_slice(&to_digits(word));
        }
        &self.payload
    }

    /// What a payload says. None if it is not one that [`Stamper::write`] gave, to the last byte.
    pub(crate) fn read(&self, payload: &[u8]) -> Option<Stamp> {
        let (digits, filler) = payload.split_at_checked(BYTES_MIN)?;
        if filler != &self.payload[BYTES_MIN..] {
            return None;
        }
        let word = |nth: usize| from_digits(*digits[nth * 8..].first_chunk()?);
        let due = u64::from(word(2)?) << 32 | u64::from(word(3)?);
        let due = Duration::from_nanos(due);
        Some(Stamp { publisher: word(0)?, sequence: word(1)?, due })
    }
}

/// A byte in each of eight.
const ONES: u64 = 0x0101_0101_0101_0101;
/// From `9` to `a`, less one.
const GAP: u64 = (b'a' - b'9' - 1) as u64;

/// All digits at a time: a server delivers millions a second.
fn to_digits(word: u32) -> [u8; 8] {
    let mut spread = u64::from(word);
    spread = (spread << 16 | spread) & 0x0000_ffff_0000_ffff;
    spread = (spread << 8 | spread) & 0x00ff_00ff_00ff_00ff;
    spread = (spread << 4 | spread) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (spread + 6 * ONES) >> 4 & ONES;
    (spread + u64::from(b'0') * ONES + letters * GAP).to_be_bytes()
}

fn from_digits(digits: [u8; 8]) -> Option<u32> {
    let text = u64::from_be_bytes(digits);
    let letters = text >> 6 & ONES;
    let mut spread = (text & (0x0f * ONES)) + letters * 9;
    // What is not a digit gives another value than it was written for.
    spread &= 0x0f * ONES;
    spread = (spread >> 4 | spread) & 0x00ff_00ff_00ff_00ff;
    spread = (spread >> 8 | spread) & 0x0000_ffff_0000_ffff;
    let word = (spread >> 16 | spread) as u32;
    (to_digits(word) == digits).then_some(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_are_hexadecimal(word: u32) {
            let digits = to_digits(word);
            prop_assert_eq!(std::str::from_utf8(&digits).unwrap(), format!("{word:08x}"));
            prop_assert_eq!(from_digits(digits), Some(word));
        }

        #[test]
        fn nothing_else_is_taken_for_digits(bytes: [u8; 8]) {
            let is_digits = bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            prop_assert_eq!(from_digits(bytes).is_some(), is_digits);
        }
    }

    #[test]
    fn a_payload_says_what_was_written() {
        for bytes in [32, 33, 128] {
            let mut stamper = Stamper::new(bytes);
            let stamp = Stamp { publisher: 7, sequence: u32::MAX, due: Duration::from_secs(4000) };
            let payload = stamper.write(stamp).to_vec();
            assert_eq!(payload.len(), bytes);
            assert_eq!(stamper.read(&payload), Some(stamp));
        }
    }

    #[test]
    fn a_payload_that_was_changed_anywhere_is_none() {
        let mut stamper = Stamper::new(40);
        let stamp = Stamp { publisher: 1, sequence: 2, due: Duration::from_nanos(3) };
        let payload = stamper.write(stamp).to_vec();
        for place in 0..40 {
            let mut changed = payload.clone();
            changed[place] = b'!';
            assert_eq!(stamper.read(&changed), None, "{place}");
        }
        assert_eq!(stamper.read(&payload[..39]), None);
        assert_eq!(stamper.read(&payload[..20]), None);
        assert_eq!(stamper.read(&[&payload[..], b"."].concat()), None);
    }
}
