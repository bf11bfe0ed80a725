//! A look at the database's journals before the database opens them.
//!
//! fjall ends the replay of a journal at the first thing that it can't read, drops what follows and does not say so; where a
//! batch has lost a page in its middle, as a power loss may leave the last one, it refuses to open. So both are settled here:
//! **a torn tail**, which is what was never synced, is cut off with a message; **damage** in what was synced is an error.
//!
//! What tells them apart: a batch is written after the one before it was synced, or it says that it was not
//! ([`unsynced`]). So a whole batch beyond the damage that does not say so proves that the disk had what is damaged. (Damage
//! in the very last commit looks like a torn tail; nothing can tell.)

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::Trouble;
use crate::log::keys::unsynced;

/// Makes sure that what is read of the journals is on disk, and cuts off a torn tail. Blocks.
pub(super) fn settle(database: &Path) -> Result<(), Trouble> {
    let mut journals = journals(database)?;
    let active = journals.pop();
    for (_, file) in journals {
        let bytes = read(&file)?;
        // It was synced as a whole before the next one was begun.
        let whole = whole(&bytes);
        if !is_blank(&bytes[whole..]) {
            return Err(damage(file, whole));
        }
    }
    let Some((_, file)) = active else { return Ok(()) };
    let bytes = read(&file)?;
    let whole = whole(&bytes);
    let rest = &bytes[whole..];
    if is_blank(rest) {
        return Ok(());
    }
    if was_synced(rest) {
        return Err(damage(file, whole));
    }
    let torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let journal = OpenOptions::new().write(true).open(&file)?;
    journal.set_len(whole as u64)?;
    journal.sync_all()?;
    tracing::warn!(
        file = %file.display(),
        at = whole,
        bytes = torn,
        "the journal's end was torn and is cut off: it was never synced, so nobody was told that it is stored"
    );
    Ok(())
}

fn damage(file: PathBuf, at: usize) -> Trouble {
    Trouble::Damage {
        file,
        what: format!("it can't be read at byte {at}, and was written beyond it"),
    }
}

/// The journals, in their order; the last one is written to.
fn journals(database: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            // Another name the database itself refuses.
            journals.extend(number.map(|number| (number, path)));
        }
    }
    journals.sort_unstable();
    Ok(journals)
}

/// Reads what is on disk. After a `kill -9` the system may still have writes in memory only, and after a failed fsync it may
/// have in memory what never came to the disk, and think that it did: so it writes what it knows to be missing, and forgets the rest.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let journal = File::open(file)?;
    journal.sync_all()?;
    #[cfg(target_os = "linux")]
    nix::fcntl::posix_fadvise(&journal, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    let mut bytes = Vec::new();
    (&journal).take(end_of_data(&journal)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where nothing but zeros follows that were never written: a new journal has 64 MiB of them, not worth reading.
#[cfg(target_os = "linux")]
fn end_of_data(journal: &File) -> io::Result<u64> {
    use nix::unistd::{Whence, lseek};
    let mut end = 0;
    loop {
        match lseek(journal, end, Whence::SeekData) {
            Ok(data) => end = lseek(journal, data, Whence::SeekHole)?,
            Err(nix::errno::Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        }
    }
    lseek(journal, 0, Whence::SeekSet)?;
    Ok(end.cast_unsigned())
}

#[cfg(not(target_os = "linux"))]
fn end_of_data(journal: &File) -> io::Result<u64> {
    Ok(journal.metadata()?.len())
}

/// A journal has 64 MiB of zeros ahead when it is new, so this compares many bytes at once.
fn is_blank(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// How far the journal consists of whole batches, in the order in which they were written.
fn whole(bytes: &[u8]) -> usize {
    let (mut end, mut newest) = (0, None);
    while let Some(batch) = Batch::read(&bytes[end..]).filter(|batch| Some(batch.number) > newest) {
        end += batch.len;
        newest = Some(batch.number);
    }
    end
}

/// Whether there is a batch beyond the damage that was written when all before it was synced.
fn was_synced(mut rest: &[u8]) -> bool {
    while let Some(begin) = rest.iter().position(|byte| *byte == START) {
        rest = &rest[begin..];
        match Batch::read(rest) {
            Some(batch) if !batch.after_unsynced => return true,
            Some(batch) => rest = &rest[batch.len..],
            None => rest = &rest[1..],
        }
    }
    false
}

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";

/// The database counts up to half of a u64.
const MAX_NUMBER: u64 = 1 << 62;

/// A whole batch at the beginning of some bytes.
struct Batch {
    len: usize,
    number: u64,
    after_unsynced: bool,
}

impl Batch {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut left = bytes;
        (take::<1>(&mut left)? == [START]).then_some(())?;
        let items = u32::from_le_bytes(take(&mut left)?);
        let number = u64::from_le_bytes(take(&mut left)?);
        let content = left;
        let mut after_unsynced = false;
        for _ in 0..items {
            match take(&mut left)? {
                [ITEM] => after_unsynced |= item_key(&mut left)? == unsynced::KEY.as_bytes(),
                [CLEAR] => drop(take::<8>(&mut left)?),
                _ => return None,
            }
        }
        let content = &content[..content.len() - left.len()];
        let is_whole = take(&mut left)? == [END]
            && u64::from_le_bytes(take(&mut left)?) == xxh3_64(content)
            && take(&mut left)? == TRAILER
            && number < MAX_NUMBER;
        let len = bytes.len() - left.len();
        is_whole.then_some(Self { len, number, after_unsynced })
    }
}

fn take<const N: usize>(left: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = left.split_first_chunk()?;
    *left = rest;
    Some(*taken)
}

/// Takes an item without its tag: kind, compression, keyspace, the lengths of key and value, and of the value as it is stored; then
/// key and value.
fn item_key<'a>(left: &mut &'a [u8]) -> Option<&'a [u8]> {
    let _kind_compression_keyspace = take::<10>(left)?;
    let key_len = u16::from_le_bytes(take(left)?);
    let _value_len = take::<4>(left)?;
    let stored_len = u32::from_le_bytes(take(left)?);
    let (key, rest) = left.split_at_checked(key_len.into())?;
    (_, *left) = rest.split_at_checked(stored_len as usize)?;
    Some(key)
}
