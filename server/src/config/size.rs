//! Sizes in bytes as people write them: a number, or text such as `"64KiB"`.

use std::fmt;

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// A number of bytes, printed so that reading it gives the same number.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in UNITS {
            let count = self.0 >> shift;
            if count > 0 && count << shift == self.0 {
                return write!(f, "{count}{unit}");
            }
        }
        write!(f, "{}B", self.0)
    }
}

pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    ByteSize::deserialize(deserializer)
        .ok()
        .and_then(|size| size.as_u64().try_into().ok())
        .ok_or_else(|| {
            D::Error::custom("expected a size: a number of bytes, or text such as \"64KiB\"")
        })
}

pub(super) fn serialize<S, T>(size: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    T: Copy + TryInto<u64>,
{
    serializer.collect_str(&Size((*size).try_into().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_size_is_printed_in_its_largest_whole_unit() {
        for (bytes, text) in
            [(0, "0B"), (1000, "1000B"), (65_536, "64KiB"), (65_537, "65537B"), (1 << 30, "1GiB")]
        {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn a_printed_size_reads_back(bytes in any::<u64>(), shift in 0_u32..50) {
            for bytes in [bytes, bytes >> shift, (bytes >> 50) << shift] {
                let read: ByteSize = Size(bytes).to_string().parse().unwrap();
                prop_assert_eq!(read.as_u64(), bytes);
            }
        }
    }
}
