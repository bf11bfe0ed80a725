//! The number of open connections of each address and each user.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Scope;

/// The numbers of open connections. An entry lasts as long as its connections, so `limits.connections` bounds the entries.
#[derive(Debug)]
pub(super) struct OpenConnections {
    by_address: Arc<Counts>,
    by_user: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    most: usize,
    open: Mutex<HashMap<u64, usize>>,
}

/// Counts a connection as open until this is dropped.
#[derive(Debug)]
pub struct Opened {
    counts: Arc<Counts>,
    key: u64,
}

impl OpenConnections {
    pub(super) fn new(by_address: usize, by_user: usize) -> Self {
        let counts = |most| Arc::new(Counts { most, open: Mutex::default() });
        Self { by_address: counts(by_address), by_user: counts(by_user) }
    }

    /// Counts one more connection, or says which of the two has too many.
    pub(super) fn enter(
        &self,
        address: u64,
        user: Option<u64>,
    ) -> Result<[Option<Opened>; 2], Scope> {
        let address = Counts::enter(&self.by_address, address).ok_or(Scope::Address)?;
        let user = user.map(|user| self.enter_user(user)).transpose()?;
        Ok([Some(address), user])
    }

    /// Counts one more connection of a user, unless it has too many.
    pub(super) fn enter_user(&self, user: u64) -> Result<Opened, Scope> {
        Counts::enter(&self.by_user, user).ok_or(Scope::User)
    }
}

impl Counts {
    fn enter(counts: &Arc<Self>, key: u64) -> Option<Opened> {
        let mut open = counts.open.lock();
        let count = open.entry(key).or_default();
        if *count >= counts.most {
            // This call has just created the entry, if it counts no connection.
            if *count == 0 {
                open.remove(&key);
            }
            return None;
        }
        *count += 1;
        drop(open);
        Some(Opened { counts: Arc::clone(counts), key })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut open = self.counts.open.lock();
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}
