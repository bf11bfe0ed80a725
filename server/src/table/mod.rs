//! `dormouse objects`: what is awake on a running server, what is asleep, and why. Knows the server by what it says over HTTP.

mod column;
mod plain;
mod screen;
mod server;
mod summary;
mod watch;

use std::io::{self, Write as _};

pub(crate) use self::server::Source;
use self::server::{AskError, MAX_ROWS};

/// Rows of the first answer, before the height of the terminal matters.
const FIRST_ROWS: usize = 50;

/// Why the table can't be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("cannot write the table")]
    Write(#[source] io::Error),
    #[error("cannot use the terminal: --once prints the table without it")]
    Terminal(#[source] io::Error),
}

/// Prints the table once, with at most 1,000 objects.
pub(crate) fn print(source: &Source) -> Result<(), Error> {
    let text = plain::text(&source.summary(MAX_ROWS)?);
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Error::Write),
    }
}

/// Shows the table on the terminal and keeps it up to date, until `q` or Ctrl-C.
pub(crate) fn watch(source: Source) -> Result<(), Error> {
    let first = source.summary(FIRST_ROWS)?;
    watch::run(source, first).map_err(Error::Terminal)
}
