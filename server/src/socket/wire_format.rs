//! How the messages of one connection are written: what its handshake has agreed on.

use dormouse_protocol::Encoding;

/// The encoding of messages, and whether large ones may be compressed (RFC 7692).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WireFormat {
    /// How messages are encoded.
    pub encoding: Encoding,
    /// Messages of either side may be deflated.
    pub deflated: bool,
}

impl WireFormat {
    /// How many there are.
    pub(super) const COUNT: usize = 4;
    /// All, in the order of their indexes.
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self { encoding: Encoding::Msgpack, deflated: false },
        Self { encoding: Encoding::Json, deflated: false },
        Self { encoding: Encoding::Msgpack, deflated: true },
        Self { encoding: Encoding::Json, deflated: true },
    ];

    /// The format as a number that objects give back.
    pub(super) fn tag(self) -> u32 {
        self.index() as u32
    }

    /// The format that a tag was made of.
    pub(super) fn of_tag(tag: u32) -> Self {
        Self::ALL[tag as usize % Self::COUNT]
    }

    /// Its index in [`Self::ALL`].
    pub(super) fn index(self) -> usize {
        self.encoding as usize + 2 * usize::from(self.deflated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_place() {
        for (index, format) in WireFormat::ALL.into_iter().enumerate() {
            assert_eq!(format.index(), index);
            assert_eq!(WireFormat::of_tag(format.tag()), format);
        }
    }
}
