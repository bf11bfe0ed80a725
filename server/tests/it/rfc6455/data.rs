//! Data of the kinds that the suite's files are of, made up.

use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// Verse in German.
    Prose,
    /// A picture without compression: grey, with noise.
    Bitmap,
    /// A document of compressed parts: it shrinks no further.
    Document,
    Json,
    Html,
}

impl Data {
    pub(super) const ALL: [Self; 5] =
        [Self::Prose, Self::Bitmap, Self::Document, Self::Json, Self::Html];

    /// Whether it is sent as text. The suite sends prose as bytes.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Json | Self::Html)
    }

    /// Whether compression makes any 256 bytes of it shorter.
    pub(super) fn shrinks(self) -> bool {
        self != Self::Document
    }

    /// So many bytes of it, always the same.
    pub(super) fn bytes(self, len: usize) -> Vec<u8> {
        let mut random = SmallRng::seed_from_u64(12);
        let mut bytes = Vec::with_capacity(len + 200);
        while bytes.len() < len {
            self.add(&mut bytes, &mut random);
        }
        bytes.truncate(len);
        bytes
    }

    fn add(self, bytes: &mut Vec<u8>, random: &mut SmallRng) {
        let number: u32 = random.random_range(0..100_000);
        match self {
            Self::Prose => {
                bytes.extend_from_slice(word(random).as_bytes());
                let gap = if number.is_multiple_of(8) { ",\r\n" } else { " " };
                bytes.extend_from_slice(gap.as_bytes());
            }
            Self::Bitmap => {
                let shade = (bytes.len() / 64 % 200) as u8;
                bytes.push(shade + (number % 4) as u8);
            }
            Self::Document => bytes.extend(random.next_u64().to_le_bytes()),
            Self::Json => {
                let (name, tag) = (word(random), word(random));
                let item =
                    format!("{{\"id\": {number}, \"name\": \"{name}\", \"tags\": [\"{tag}\"]}},\n");
                bytes.extend_from_slice(item.as_bytes());
            }
            Self::Html => {
                let text = word(random);
                let item = format!("<li class=\"item\"><a href=\"/{number}\">{text}</a></li>\n");
                bytes.extend_from_slice(item.as_bytes());
            }
        }
    }
}

fn word(random: &mut SmallRng) -> &'static str {
    const WORDS: [&str; 24] = [
        "der", "die", "das", "und", "nicht", "wenn", "nur", "wird", "Haus", "Maus", "schlafen",
        "wachen", "Winter", "Sommer", "Nuss", "Wald", "kalt", "warm", "lange", "kurz", "immer",
        "wieder", "Traum", "Nacht",
    ];
    WORDS[random.random_range(0..WORDS.len())]
}
