//! Creating and opening the log's directory.
//!
//! `log.lock` is locked while a process uses the directory; `log` is the database. A new database is created as `log.new` and
//! renamed when it is complete, so that a crash during the first start leaves no incomplete database.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};

use fjall::{Database, KeyspaceCreateOptions, PersistMode};

use super::inspect::{self, Trouble};
use super::keys::{format, next_id};
use super::store::Store;
use super::{Keyspace, Options};

/// Why the log can't be opened; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error("the log in {} is in use by another process: stop that one, or choose another directory", .dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A newer program wrote the directory. Where the directory has its `format` file, nothing in it was changed.
    #[error(
        "the log in {} has format {found} and this program knows formats up to {known}: use the version of the program that wrote it, or a newer one", .dir.display()
    )]
    NewerFormat {
        /// The directory.
        dir: PathBuf,
        /// The format of the directory.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
    /// Another version of the database wrote the directory; nothing in it was changed.
    #[error(
        "the log in {} has version {found} of the database's format, as {} says, and this program knows version {known}: use the version of the program that wrote it, or a newer one", .dir.display(), .file.display()
    )]
    OtherDatabase {
        /// The directory.
        dir: PathBuf,
        /// The file that names the version.
        file: PathBuf,
        /// The version of the directory.
        found: u8,
        /// The version that this program knows.
        known: u8,
    },
    /// The directory can't be made or written.
    #[error("the log's directory {} can't be written: make it writable, or choose another one", .dir.display())]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory holds no log, or a damaged one.
    #[error("the log in {} is damaged ({what}): restore it from a backup, or move it away to start with an empty one", .dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A file is damaged. It is not repaired, because a repair would drop acknowledged events.
    #[error("the log in {} is damaged: {} is not as it was written ({what}); restore it from a backup, or move it away to start with an empty one", .dir.display(), .file.display())]
    DamagedFile {
        /// The directory.
        dir: PathBuf,
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The database can't be opened.
    #[error("the log in {} can't be opened: free disk space if it is full; otherwise restore it from a backup, or move it away to start with an empty one", .dir.display())]
    Storage {
        /// The directory.
        dir: PathBuf,
        /// What the database said.
        source: fjall::Error,
    },
}

/// A file of every database. Without it, the database would create a new one among foreign files.
const DATABASE: &str = "version";

/// All journals together. A journal stays until everything in it is in a table, so this bounds both the disk space and
/// the time that a start after a crash takes to replay them.
const JOURNAL_BYTES: u64 = 256 << 20;

/// Events fill a memtable at the rate of all writes. Four may wait to be written out before writes halt, so this
/// bounds the memory (5 × 32 MiB); smaller ones mean more tables and more compaction.
const EVENTS_MEMTABLE_BYTES: u64 = 32 << 20;

/// Records are small, and written only with an object's first event and with trims; rosters are small too.
const RECORDS_MEMTABLE_BYTES: u64 = 8 << 20;

/// A row for each member that is present, read at the next start only: they are better on disk.
const PAIRS_MEMTABLE_BYTES: u64 = 256 << 10;

/// One worker may be busy with a long compaction while the other writes out memtables.
const WORKERS: usize = 2;

impl Store {
    /// The database panics on some kinds of damage; a panic is reported as damage.
    pub(super) fn open(dir: &Path, options: &Options) -> Result<Self, OpenError> {
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_whole(dir, options)));
        opened.unwrap_or_else(|_| {
            Err(OpenError::Damaged { dir: dir.into(), what: "the database panics when it opens" })
        })
    }

    fn open_whole(dir: &Path, options: &Options) -> Result<Self, OpenError> {
        let not_writable = |source| OpenError::NotWritable { dir: dir.into(), source };
        let storage = |error| match error {
            fjall::Error::Locked => OpenError::InUse { dir: dir.into() },
            fjall::Error::Io(source) if is_refusal(&source) => not_writable(source),
            source => OpenError::Storage { dir: dir.into(), source },
        };
        create_dir(dir).map_err(not_writable)?;
        let lock = File::create(dir.join("log.lock")).map_err(not_writable)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse { dir: dir.into() },
            TryLockError::Error(source) => not_writable(source),
        })?;
        let place = dir.join("log");
        if !place.try_exists().map_err(not_writable)? {
            create(dir, &place, options).map_err(storage)?;
        } else if !place.join(DATABASE).try_exists().map_err(not_writable)? {
            return Err(OpenError::Damaged { dir: dir.into(), what: "there is no database in it" });
        }
        check_format(dir, &place.join(format::FILE))?;
        // Here and not where it is made: a start that was killed in between leaves it to the next one.
        sync_names(dir).map_err(not_writable)?;
        inspect::settle(&place).map_err(|trouble| match trouble {
            Trouble::Io(error) => storage(error.into()),
            Trouble::Version { file, found, known } => {
                OpenError::OtherDatabase { dir: dir.into(), file, found, known }
            }
            Trouble::Damage { file, what } => {
                OpenError::DamagedFile { dir: dir.into(), file, what }
            }
        })?;
        let db = database(&place, options).map_err(storage)?;
        let meta = records(&db, "meta").map_err(storage)?;
        let damaged = |what| OpenError::Damaged { dir: dir.into(), what };
        let version = meta.get(format::KEY).map_err(storage)?;
        let version = version.ok_or_else(|| damaged("it does not name its format"))?;
        match format::decode(&version) {
            Some(format::VERSION) => {}
            Some(found) if found > format::VERSION => {
                let known = format::VERSION;
                return Err(OpenError::NewerFormat { dir: dir.into(), found, known });
            }
            _ => return Err(damaged("it names an unknown format")),
        }
        let objects = records(&db, "objects").map_err(storage)?;
        let events = events(&db).map_err(storage)?;
        let keyspaces = pairs(&db).map_err(storage)?;
        // The database leaves out the name of a keyspace that it has just made.
        sync_names(&place.join("keyspaces")).map_err(|error| storage(error.into()))?;
        let next_id = match meta.get(next_id::KEY).map_err(storage)? {
            // No object was stored yet.
            None => 1,
            Some(id) => {
                next_id::decode(&id).ok_or_else(|| damaged("its next object id is invalid"))?
            }
        };
        let (next_id, unsynced) = (AtomicU64::new(next_id), AtomicBool::new(false));
        Ok(Self { db, meta, objects, events, keyspaces, next_id, unsynced, _lock: lock })
    }
}

/// Compares the format that the directory names with the one that this program knows.
fn check_format(dir: &Path, file: &Path) -> Result<(), OpenError> {
    let damaged = |what: &str| OpenError::DamagedFile {
        dir: dir.into(),
        file: file.into(),
        what: what.into(),
    };
    let text = match fs::read_to_string(file) {
        // Programs that knew format 1 only did not write the file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(damaged(&error.to_string())),
        Ok(text) => text,
    };
    match text.trim_end().parse() {
        Ok(format::VERSION) => Ok(()),
        Ok(found) if found > format::VERSION => {
            Err(OpenError::NewerFormat { dir: dir.into(), found, known: format::VERSION })
        }
        _ => Err(damaged("it names no format that this program knows")),
    }
}

/// Makes a directory and those above it, and their names durable: a power loss must not take it away with all that is in it.
fn create_dir(dir: &Path) -> io::Result<()> {
    let above =
        dir.ancestors().skip(1).map(|above| if above == "" { Path::new(".") } else { above });
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(dir)?;
    above.take(missing.len()).try_for_each(sync_names)
}

/// Makes the names in a directory durable.
fn sync_names(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotADirectory | PermissionDenied | ReadOnlyFilesystem)
}

fn create(dir: &Path, place: &Path, options: &Options) -> Result<(), fjall::Error> {
    let draft = dir.join("log.new");
    if draft.try_exists()? {
        fs::remove_dir_all(&draft)?;
    }
    {
        let db = database(&draft, options)?;
        let meta = records(&db, "meta")?;
        records(&db, "objects")?;
        events(&db)?;
        pairs(&db)?;
        let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&meta, format::KEY, format::encode(format::VERSION));
        batch.commit()?;
    }
    let mut file = File::create_new(draft.join(format::FILE))?;
    writeln!(file, "{}", format::VERSION)?;
    file.sync_all()?;
    // The database does not sync them.
    sync_names(&draft.join("keyspaces"))?;
    sync_names(&draft)?;
    Ok(fs::rename(&draft, place)?)
}

fn database(place: &Path, options: &Options) -> Result<Database, fjall::Error> {
    Database::builder(place)
        .cache_size(options.cache_bytes)
        .max_cached_files(Some(options.open_tables))
        .max_journaling_size(JOURNAL_BYTES)
        .worker_threads(WORKERS)
        .open()
}

fn records(db: &Database, name: &str) -> Result<fjall::Keyspace, fjall::Error> {
    db.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(RECORDS_MEMTABLE_BYTES))
}

fn pairs(db: &Database) -> Result<[fjall::Keyspace; Keyspace::ALL.len()], fjall::Error> {
    let [presence] = Keyspace::ALL.map(|keyspace| {
        db.keyspace(keyspace.name(), || {
            KeyspaceCreateOptions::default().max_memtable_size(PAIRS_MEMTABLE_BYTES)
        })
    });
    Ok([presence?])
}

fn events(db: &Database) -> Result<fjall::Keyspace, fjall::Error> {
    db.keyspace("events", || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(EVENTS_MEMTABLE_BYTES)
            // Point reads only look for what is there, so the last level needs no filter.
            .expect_point_read_hits(true)
    })
}
