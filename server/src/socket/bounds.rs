//! The bounds of a reactor's own work. No operator has a reason to change them; a simulation reaches small ones soon.

/// How much a reactor takes on at a time.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From so many members on, the end of a flush is awaited. Fewer members are written to in less than a millisecond.
    pub flush_members: u32,
    /// Pages of the log end where the offset is a multiple of this, if not before.
    pub page_events: u64,
    /// Recent deliveries that are kept for members that catch up.
    pub recent_deliveries: usize,
    /// Bytes of events and presence changes that may wait for a reactor. Members read what does not fit from the log and the
    /// roster.
    pub inbox_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { flush_members: 128, page_events: 256, recent_deliveries: 64, inbox_bytes: 32 << 20 }
    }
}
