//! The MessagePack form, walked byte by byte: nothing is copied and nothing allocated.

use anyhow::{Context as _, Result, bail, ensure};
use rmp::Marker;
use rmp::decode::{self, NumValueReadError, ValueReadError};
use rmp::encode;

use super::{Delivery, Said};

/// Appends a publish.
pub(super) fn write(delivery: Delivery, id: u32, object: u64, data: &[u8], out: &mut Vec<u8>) {
    const MEMORY: &str = "writing to memory does not fail";
    let text = |out: &mut Vec<u8>, text: &[u8]| {
        encode::write_str_len(out, text.len() as u32).expect(MEMORY);
        out.extend_from_slice(text);
    };
    encode::write_map_len(out, 1).expect(MEMORY);
    match delivery {
        Delivery::Durable => {
            text(out, b"publish");
            encode::write_array_len(out, 4).expect(MEMORY);
            encode::write_uint(out, id.into()).expect(MEMORY);
            encode::write_uint(out, object).expect(MEMORY);
            text(out, b"message");
        }
        Delivery::Signals => {
            text(out, b"signal");
            encode::write_array_len(out, 3).expect(MEMORY);
            encode::write_nil(out).expect(MEMORY);
            encode::write_uint(out, object).expect(MEMORY);
        }
    }
    text(out, data);
}

/// Tells what a message says. Fields beyond those that are known are skipped, and so are other messages.
pub(super) fn read(message: &[u8], take: &mut impl FnMut(Said<'_>) -> Result<()>) -> Result<()> {
    let mut walk = Walk(message);
    ensure!(walk.map()? == 1, "a message has one entry");
    let kind = walk.text()?;
    let fields = walk.array()?;
    match kind {
        b"events" => {
            let _object = walk.number()?;
            walk.each(|walk| {
                let fields = walk.array()?;
                let offset = walk.number()?;
                walk.skip(3)?;
                let data = walk.text()?;
                walk.skip(fields.saturating_sub(5))?;
                take(Said::Event { offset, data })
            })
        }
        b"signals" => {
            let _object = walk.number()?;
            walk.each(|walk| {
                let fields = walk.array()?;
                walk.skip(1)?;
                let data = walk.text()?;
                walk.skip(fields.saturating_sub(2))?;
                take(Said::Signal { data })
            })
        }
        b"joined" => {
            ensure!(fields >= 7, "a short `joined`");
            let _id = walk.number()?;
            let object = walk.number()?;
            let epoch = u32::try_from(walk.number()?)?;
            let _head = walk.number()?;
            let from = walk.number()?;
            let resumed = walk.truth()?;
            take(Said::Joined { object, epoch, from, resumed })
        }
        b"caught_up" => take(Said::CaughtUp),
        b"reset" => take(Said::Reset),
        b"roster" => roster(&mut walk, take),
        b"presence" => presence(&mut walk, take),
        b"error" => {
            walk.skip(1)?;
            let code = walk.text()?;
            let message = walk.text()?;
            take(Said::Error { code, message })
        }
        _ => Ok(()),
    }
}

fn roster(walk: &mut Walk<'_>, take: &mut impl FnMut(Said<'_>) -> Result<()>) -> Result<()> {
    if walk.maybe_number()?.is_none() {
        take(Said::RosterBegins)?;
    }
    // object, version, members, users, since
    walk.skip(5)?;
    let mut after = 0;
    walk.each(|walk| {
        after = entry(walk, 2, take)?;
        Ok(())
    })?;
    walk.each(|_| take(Said::Left))?;
    if walk.truth()? {
        take(Said::RosterGoesOn { after })?;
    }
    Ok(())
}

fn presence(walk: &mut Walk<'_>, take: &mut impl FnMut(Said<'_>) -> Result<()>) -> Result<()> {
    // object, version, members, users
    walk.skip(4)?;
    walk.each(|walk| entry(walk, 2, take).map(drop))?;
    walk.each(|walk| entry(walk, 1, take).map(drop))?;
    walk.each(|_| take(Said::Left))
}

/// An entry of a roster, in which so many fields stand up to the data. Gives its number.
fn entry(
    walk: &mut Walk<'_>,
    before: u32,
    take: &mut impl FnMut(Said<'_>) -> Result<()>,
) -> Result<u64> {
    let fields = walk.array()?;
    let entry = walk.number()?;
    walk.skip(before - 1)?;
    let member = u32::try_from(walk.number()?)?;
    walk.skip(fields.saturating_sub(before + 1))?;
    take(Said::Present { member })?;
    Ok(entry)
}

/// What is left to read.
struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
    fn map(&mut self) -> Result<u32, ValueReadError> {
        decode::read_map_len(&mut self.0)
    }

    fn array(&mut self) -> Result<u32, ValueReadError> {
        decode::read_array_len(&mut self.0)
    }

    fn number(&mut self) -> Result<u64, NumValueReadError> {
        decode::read_int(&mut self.0)
    }

    fn truth(&mut self) -> Result<bool, ValueReadError> {
        decode::read_bool(&mut self.0)
    }

    fn maybe_number(&mut self) -> Result<Option<u64>> {
        if self.0.first() == Some(&Marker::Null.to_u8()) {
            self.skip(1)?;
            return Ok(None);
        }
        Ok(Some(self.number()?))
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let length = decode::read_str_len(&mut self.0)?;
        self.bytes(length)
    }

    fn bytes(&mut self, count: u32) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count as usize).context("it ends early")?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Reads a list.
    fn each(&mut self, mut read: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        for _ in 0..self.array()? {
            read(self)?;
        }
        Ok(())
    }

    /// Skips so many values, whatever they hold.
    fn skip(&mut self, count: u32) -> Result<()> {
        let mut left = u64::from(count);
        while left > 0 {
            left -= 1;
            let start = self.0;
            let marker = decode::read_marker(&mut self.0).map_err(ValueReadError::from)?;
            let bytes = match marker {
                Marker::Null
                | Marker::True
                | Marker::False
                | Marker::FixPos(_)
                | Marker::FixNeg(_) => 0,
                Marker::U8 | Marker::I8 => 1,
                Marker::U16 | Marker::I16 => 2,
                Marker::U32 | Marker::I32 | Marker::F32 => 4,
                Marker::U64 | Marker::I64 | Marker::F64 => 8,
                _ => {
                    self.0 = start;
                    match marker {
                        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                            decode::read_str_len(&mut self.0)?
                        }
                        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                            decode::read_bin_len(&mut self.0)?
                        }
                        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                            left += u64::from(self.array()?);
                            0
                        }
                        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
                            left += 2 * u64::from(self.map()?);
                            0
                        }
                        _ => bail!("a value that the protocol has not"),
                    }
                }
            };
            self.bytes(bytes)?;
        }
        Ok(())
    }
}
