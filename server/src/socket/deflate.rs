//! Compressed messages: RFC 7692, `permessage-deflate`, without context takeover. Each message is compressed for itself, so that
//! no connection keeps a window, and the members of an object share one compressed message. No I/O.
//!
//! Each thread that compresses or inflates keeps one state for it, which holds nothing from one message to the next.

use std::cell::RefCell;

use dormouse_protocol::CloseCode;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::Violation;
use crate::limits::{Budget, Held, Purpose};

/// Messages are compressed within a window of 2 to this power of bytes: what a client offers to keep may be as little. A larger one
/// gains next to nothing where each message is for itself.
pub const WINDOW_BITS: u8 = 12;
/// Shorter messages are sent as they are: they hardly shrink.
const MIN_BYTES: usize = 256;
/// Of a page of events of 64 KiB this makes 15 KB; level 1 made 23, and level 6 not less than 14.
const LEVEL: u32 = 3;
/// What ends each message after a flush; it is not sent (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
const BROKEN: Violation = Violation(CloseCode::ProtocolError);
/// The first piece of memory for a message that is inflated.
const FIRST_BYTES: usize = Held::FREE;

thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(compress());
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

fn compress() -> Compress {
    Compress::new_with_window_bits(Compression::new(LEVEL), false, WINDOW_BITS)
}

/// The message, compressed; `None` where it would not become smaller.
pub(super) fn deflate(message: &[u8]) -> Option<Vec<u8>> {
    if message.len() < MIN_BYTES {
        return None;
    }
    COMPRESS.with_borrow_mut(|state| {
        state.reset();
        // Room for all of it, so that the state has nothing left to give out: zlib-rs 0.6.8 would trip over that after its reset.
        let mut out = Vec::with_capacity(bound(message.len()));
        let compressed = state.compress_vec(message, &mut out, FlushCompress::Sync);
        let is_whole = compressed.is_ok()
            && state.total_in() == message.len() as u64
            && out.len() < out.capacity();
        if !is_whole {
            *state = compress();
            return None;
        }
        let len = out.strip_suffix(&TAIL)?.len();
        out.truncate(len);
        (len < message.len()).then_some(out)
    })
}

/// The longest compressed message that may hold one of `limit` bytes: what can't be compressed grows by a few bytes in each block.
pub(super) fn bound(limit: usize) -> usize {
    limit + limit / 256 + 64
}

/// The message that was compressed, of `limit` bytes at most: it is inflated no further than to the first byte that is too much, and
/// only as far as there is memory for it, which is held in `held`.
pub(super) fn inflate(
    message: &[u8],
    limit: usize,
    budget: &Budget,
    held: &mut Held,
) -> Result<Vec<u8>, Violation> {
    DECOMPRESS.with_borrow_mut(|state| {
        state.reset(false);
        let mut out = Vec::new();
        let mut has_room = |bytes| held.try_hold(budget, Purpose::Input, bytes);
        let mut has_ended = false;
        for mut input in [message, &TAIL] {
            while inflate_on(state, &mut input, &mut out, limit, &mut has_room)?
                == Status::StreamEnd
            {
                // A block may say that it is the last of its stream, and what follows is another one: 7.2.3.4. Nobody needs a third.
                if std::mem::replace(&mut has_ended, true) {
                    return Err(BROKEN);
                }
                state.reset(false);
            }
        }
        Ok(out)
    })
}

/// Goes on until the input or the stream has ended.
fn inflate_on(
    state: &mut Decompress,
    input: &mut &[u8],
    out: &mut Vec<u8>,
    limit: usize,
    has_room: &mut impl FnMut(usize) -> bool,
) -> Result<Status, Violation> {
    loop {
        if out.len() == out.capacity() {
            let more = out.len().max(FIRST_BYTES).min(limit + 1 - out.len());
            if !has_room(out.len() + more) {
                return Err(Violation(CloseCode::Overloaded));
            }
            out.reserve_exact(more);
        }
        let (taken, made) = (state.total_in(), out.len());
        let status = state.decompress_vec(input, out, FlushDecompress::Sync);
        let status = status.map_err(|_| BROKEN)?;
        *input = &input[(state.total_in() - taken) as usize..];
        if out.len() > limit {
            return Err(Violation(CloseCode::TooLarge));
        }
        let has_space = out.len() < out.capacity();
        if status == Status::StreamEnd || input.is_empty() && has_space {
            return Ok(status);
        }
        if has_space && state.total_in() == taken && out.len() == made {
            return Err(BROKEN);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inflate(message: &[u8], limit: usize) -> Result<Vec<u8>, Violation> {
        super::inflate(message, limit, &Budget::unlimited(), &mut Held::default())
    }

    fn text(bytes: usize) -> Vec<u8> {
        b"{\"offset\":12,\"time\":1795438298879,\"kind\":\"chat\"}"
            .iter()
            .copied()
            .cycle()
            .take(bytes)
            .collect()
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn what_is_deflated_is_inflated() {
        for bytes in [256, 1_000, 65_536, 1 << 20] {
            let message = text(bytes);
            let small = deflate(&message).unwrap();
            assert!(small.len() < bytes / 2, "{} of {bytes}", small.len());
            assert_eq!(inflate(&small, bytes), Ok(message));
        }
    }

    #[test]
    fn what_would_not_shrink_is_left_alone() {
        assert_eq!(deflate(&text(MIN_BYTES - 1)), None);
        for bytes in [256, 4_096, 100_000] {
            assert_eq!(deflate(&noise(bytes)), None);
        }
    }

    #[test]
    fn the_examples_of_the_rfc_are_read_as_there() {
        let examples: &[&[u8]] = &[
            // 7.2.3.1 and, with a block that says it is the last, 7.2.3.4; without compression, 7.2.3.3; two blocks, 7.2.3.5.
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ];
        for example in examples {
            assert_eq!(inflate(example, 5).as_deref(), Ok(&b"Hello"[..]), "{example:x?}");
        }
        // An empty message, as it should be and as some send it.
        for empty in [&[0x00][..], &[]] {
            assert_eq!(inflate(empty, 5).as_deref(), Ok(&b""[..]));
        }
    }

    #[test]
    fn a_message_ends_at_its_limit_however_much_it_would_become() {
        let bomb = deflate(&vec![b' '; 64 << 20]).unwrap();
        assert!(bomb.len() < 1 << 18, "{}", bomb.len());
        assert_eq!(inflate(&bomb, 1_000), Err(Violation(CloseCode::TooLarge)));
        let small = deflate(&text(1_001)).unwrap();
        assert_eq!(inflate(&small, 1_000), Err(Violation(CloseCode::TooLarge)));
        assert_eq!(inflate(&small, 1_001), Ok(text(1_001)));
    }

    #[test]
    fn a_message_is_inflated_as_far_as_there_is_memory() {
        let bomb = deflate(&vec![b' '; 1 << 20]).unwrap();
        let budget = Budget::new(64 << 10, &prometheus::Registry::new()).unwrap();
        let mut held = Held::default();
        let inflated = super::inflate(&bomb, 1 << 20, &budget, &mut held);
        assert_eq!(inflated, Err(Violation(CloseCode::Overloaded)));
        assert!(budget.in_use() <= budget.limit());
        drop(held);
        assert_eq!(budget.in_use(), 0);
    }

    #[test]
    fn what_is_not_compressed_data_breaks_the_rules() {
        let small = deflate(&text(1_000)).unwrap();
        // A block of a kind that does not exist, a distance to before the beginning, a stored block whose lengths differ.
        let broken: &[&[u8]] =
            &[&[0x07], &[0x4b, 0x04, 0x42], &[0x00, 0x05, 0x00, 0x00, 0x00, 0x01]];
        for broken in broken {
            assert_eq!(
                inflate(broken, 100),
                Err(Violation(CloseCode::ProtocolError)),
                "{broken:x?}"
            );
        }
        // Streams that end, again and again.
        assert_eq!(inflate(&[0x03, 0x00].repeat(10), 100), Err(BROKEN));
        assert_eq!(inflate(&small, 1_000), Ok(text(1_000)), "nothing is left of those");
    }

    #[test]
    fn a_message_that_does_not_shrink_fits_into_the_bound() {
        for bytes in [0, 1, 1_000, 65_536, 1 << 20] {
            let message = noise(bytes);
            let mut stored = Vec::with_capacity(2 * bytes + 100);
            let mut compress = Compress::new(Compression::none(), false);
            compress.compress_vec(&message, &mut stored, FlushCompress::Sync).unwrap();
            let stored = stored.strip_suffix(&TAIL).unwrap();
            assert!(stored.len() <= bound(bytes), "{} of {bytes}", stored.len());
            assert_eq!(inflate(stored, bytes), Ok(message));
        }
    }

    /// Messages that shrink well, a little, or not at all.
    fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let message = (0..12_u32, 0..20_000_usize, any::<u32>());
        let message = message.prop_map(|(bits, len, seed)| {
            let mut state = seed | 1;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 20 & ((1 << bits) - 1)) as u8
            };
            (0..len).map(|_| next()).collect()
        });
        prop::collection::vec(message, 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn one_message_after_another_comes_back(messages in messages()) {
            for message in messages {
                if let Some(small) = deflate(&message) {
                    prop_assert!(small.len() < message.len());
                    prop_assert_eq!(inflate(&small, message.len()), Ok(message));
                }
            }
        }

        #[test]
        fn damaged_messages_end_in_a_violation_or_within_the_limit(
            message in prop::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
            flip in 1..=255_u8,
        ) {
            let mut small = deflate(&text(2_000)).unwrap();
            let at = at.index(small.len());
            small[at] ^= flip;
            for damaged in [message, small] {
                if let Ok(message) = inflate(&damaged, 1_000) {
                    prop_assert!(message.len() <= 1_000);
                }
            }
        }
    }
}
