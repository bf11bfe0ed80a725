//! Checks the database's journals before the database opens them.
//!
//! fjall stops its replay at the first entry that it cannot read, and silently drops what follows. It refuses to open where a
//! batch lacks a page, which a power loss can cause in the last batch. This module separates three cases:
//!
//! - **Torn tail:** the last batch was never synced and is incomplete. It is cut off, with a warning.
//! - **Damage:** synced data cannot be read. This is an error.
//! - **Unknown:** the bytes are not what this version of the database writes. This is an error. Unknown bytes are never cut off.
//!
//! A batch is written after the previous batch was synced; otherwise it carries the mark [`unsynced`]. So a complete batch
//! without that mark, behind unreadable bytes, proves that the disk had those bytes. Damage in the last commit looks like a
//! torn tail; the journal holds nothing that tells them apart.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::Trouble;
use super::version::{KNOWN, MAGIC};
use crate::log::keys::unsynced;

/// Makes sure that what is read of the journals is on disk, and cuts off a torn tail. Checks all journals before it changes one.
/// Blocks.
pub(super) fn settle(database: &Path) -> Result<(), Trouble> {
    let mut journals = journals(database)?;
    let active = journals.pop();
    for (_, file) in journals {
        let bytes = read(&file)?;
        // It was synced as a whole before the next journal was created.
        let whole = whole(&bytes);
        if !is_blank(&bytes[whole..]) {
            if !was_synced(&bytes[whole..]) {
                check_version(&bytes[whole..], &file)?;
            }
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
    check_version(rest, &file)?;
    if !is_torn(rest) {
        let what = format!("an entry of an unknown kind begins at byte {whole}");
        return Err(Trouble::Damage { file, what });
    }
    let torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let journal = OpenOptions::new().write(true).open(&file)?;
    journal.set_len(whole as u64)?;
    journal.sync_all()?;
    tracing::warn!(
        file = %file.display(),
        at = whole,
        bytes = torn,
        "the journal's last batch is incomplete and is cut off: it was never synced and never acknowledged"
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
            // The database itself refuses any other name.
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

/// Fails if the first batch is complete and ends with the trailer of another version of the database.
fn check_version(rest: &[u8], file: &Path) -> Result<(), Trouble> {
    match Batch::read_with_trailer(rest) {
        Some((_, [magic @ .., found])) if magic == MAGIC && found != KNOWN && found != 0 => {
            Err(Trouble::Version { file: file.into(), found, known: KNOWN })
        }
        _ => Ok(()),
    }
}

/// Whether unreadable bytes can be what a power loss left of a batch: its begin, or zeros where a page was not written.
fn is_torn(rest: &[u8]) -> bool {
    matches!(rest.first(), Some(&START | 0))
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
const TRAILER: [u8; 4] = [MAGIC[0], MAGIC[1], MAGIC[2], KNOWN];

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
        let (batch, trailer) = Self::read_with_trailer(bytes)?;
        (trailer == TRAILER).then_some(batch)
    }

    /// A batch whose checksum is right, with the bytes that end it.
    fn read_with_trailer(bytes: &[u8]) -> Option<(Self, [u8; 4])> {
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
            && number < MAX_NUMBER;
        let trailer = take(&mut left)?;
        let len = bytes.len() - left.len();
        is_whole.then_some((Self { len, number, after_unsynced }, trailer))
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
