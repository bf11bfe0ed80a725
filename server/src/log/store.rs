//! The database, and the only code that writes to it: the contents of a batch, and its durability.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fjall::{Database, OwnedWriteBatch, PersistMode};

use super::keys::{event, next_id, object, unsynced};
use super::trim::Trim;
use super::{Change, Entry, Identity, Keyspace, ObjectId, Tail};

pub(super) struct Store {
    pub(super) db: Database,
    pub(super) meta: fjall::Keyspace,
    pub(super) objects: fjall::Keyspace,
    pub(super) events: fjall::Keyspace,
    /// The keyspaces of pairs, in the order of [`Keyspace::ALL`].
    pub(super) keyspaces: [fjall::Keyspace; Keyspace::ALL.len()],
    /// The id of the next new object: greater than all that are stored.
    pub(super) next_id: AtomicU64,
    /// Whether something was written since the last sync.
    pub(super) unsynced: AtomicBool,
    /// Held as long as the directory is in use.
    pub(super) _lock: File,
}

impl Store {
    pub(super) fn batch(&self) -> Batch<'_> {
        Batch { store: self, writes: self.db.batch(), creates: false }
    }

    /// An id that no object has, stored or not.
    pub(super) fn new_id(&self) -> ObjectId {
        ObjectId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// The written bytes that are still in memory.
    pub(super) fn memtable_bytes(&self) -> u64 {
        self.db.write_buffer_size()
    }

    /// Starts to write the events in memory to a table.
    pub(super) fn write_out(&self) -> Result<(), fjall::Error> {
        self.events.rotate_memtable().map(drop)
    }

    /// Fails if the database accepts no more writes. After a failure of its background work, the database does not report this by
    /// itself.
    pub(super) fn check(&self) -> Result<(), fjall::Error> {
        self.db.persist(PersistMode::Buffer)
    }
}

/// The writes of one commit: all of them, or none.
pub(super) struct Batch<'a> {
    store: &'a Store,
    writes: OwnedWriteBatch,
    creates: bool,
}

impl Batch<'_> {
    /// Stores a new object.
    pub(super) fn create(&mut self, identity: &Identity) {
        self.put_record(identity, Tail::default());
        self.creates = true;
    }

    pub(super) fn append(&mut self, id: ObjectId, first: u64, entries: &[Entry]) {
        for (offset, entry) in (first..).zip(entries) {
            let key = event::encode_key(id, offset);
            self.writes.insert(&self.store.events, key, entry.stored().clone());
        }
    }

    pub(super) fn trim(&mut self, trim: &Trim) {
        self.put_record(&trim.object, trim.to);
        for offset in trim.from + 1..=trim.to.offset {
            self.writes.remove(&self.store.events, event::encode_key(trim.object.id, offset));
        }
    }

    pub(super) fn change(&mut self, changes: &[Change]) {
        for Change { keyspace, key, value } in changes {
            let keyspace = &self.store.keyspaces[*keyspace as usize];
            match value {
                Some(value) => self.writes.insert(keyspace, &**key, &**value),
                None => self.writes.remove(keyspace, &**key),
            }
        }
    }

    fn put_record(&mut self, identity: &Identity, trimmed: Tail) {
        let record = object::encode(&object::Record::new(identity, trimmed));
        self.writes.insert(&self.store.objects, object::encode_key(&identity.name), record);
    }

    /// Writes the batch and returns when it is on disk.
    ///
    /// fjall syncs the journal before readers can see the batch. So a snapshot has no event that is not on disk.
    pub(super) fn commit_durably(self) -> Result<(), fjall::Error> {
        self.commit(PersistMode::SyncData)
    }

    /// Writes the batch; it is on disk no later than the next durable one.
    pub(super) fn commit_lazily(self) -> Result<(), fjall::Error> {
        self.commit(PersistMode::Buffer)
    }

    fn commit(mut self, mode: PersistMode) -> Result<(), fjall::Error> {
        if self.writes.is_empty() {
            return Ok(());
        }
        if self.creates {
            // It is greater than every id so far, also than those in this batch.
            let id = self.store.next_id.load(Ordering::Relaxed);
            self.writes.insert(&self.store.meta, next_id::KEY, next_id::encode(id));
        }
        let syncs = mode != PersistMode::Buffer;
        if self.store.unsynced.swap(!syncs, Ordering::Relaxed) {
            self.writes.insert(&self.store.meta, unsynced::KEY, "");
        }
        self.writes.durability(Some(mode)).commit()
    }
}
