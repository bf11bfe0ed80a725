//! What happened, step by step.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use dormouse_protocol::{ClientMessage, ServerMessage};

pub(super) enum Line {
    /// A step begins.
    Step(usize),
    Turn(usize),
    Task,
    /// A read of the log, one of so many.
    Read(usize, usize),
    /// So many events, and so many trims.
    Commit(usize, usize),
    Told,
    Passed(Duration),
    Fault(String),
    Opened(usize),
    Ended(usize, &'static str),
    Closed(usize, u16),
    Bytes(usize, usize),
    Sent(usize, ClientMessage),
    Got(usize, ServerMessage),
}

/// Characters of a line.
const SHOWN: usize = 220;

/// Cloning gives the same trace.
#[derive(Clone, Default)]
pub(super) struct Trace(Rc<RefCell<Vec<Line>>>);

impl Trace {
    pub(super) fn note(&self, line: Line) {
        self.0.borrow_mut().push(line);
    }

    /// The last of it, without what is long.
    pub(super) fn tail(&self, lines: usize) -> String {
        let all = self.0.borrow();
        let last = all[all.len().saturating_sub(lines)..].iter();
        let short = |line: &Line| line.to_string().chars().take(SHOWN).collect::<String>();
        last.map(short).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn whole(&self) -> String {
        self.0.borrow().iter().map(Line::to_string).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn count(&self, is_meant: impl Fn(&Line) -> bool) -> usize {
        self.0.borrow().iter().filter(|line| is_meant(line)).count()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step) => write!(f, "step {step}"),
            Self::Turn(reactor) => write!(f, "  reactor {reactor} has a turn"),
            Self::Task => write!(f, "  a task has a turn"),
            Self::Read(read, of) => write!(f, "  read {read} of {of} is done"),
            Self::Commit(events, trims) => {
                write!(f, "  {events} events and {trims} trims are on disk")
            }
            Self::Told => write!(f, "  one who waits for the disk is told"),
            Self::Passed(time) => write!(f, "  {time:?} pass"),
            Self::Fault(what) => write!(f, "  {what}"),
            Self::Opened(client) => write!(f, "  {client} connects"),
            Self::Ended(client, how) => write!(f, "  the connection of {client} ends: {how}"),
            Self::Closed(client, code) => {
                write!(f, "  the connection of {client} is closed: {code}")
            }
            Self::Bytes(client, count) => write!(f, "  {client} reads {count} bytes"),
            Self::Sent(client, message) => write!(f, "  {client} asks {message:?}"),
            Self::Got(client, message) => write!(f, "  {client} gets {message:?}"),
        }
    }
}
