//! The program's log on stderr. No other part of the program waits for stderr.
//!
//! Owns the thread that writes lines, and every other text that the program writes to stderr. If the reader of stderr is slow or
//! gone, the program drops lines and counts them. A panic does not wait for the reader either.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prometheus::PullingGauge;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Without the database's reports of each start and compaction.
const DEFAULT_FILTER: &str = "info,fjall=warn,lsm_tree=warn";

/// Lines that may wait to be written.
const LINES: usize = 8_192;

/// How long a text waits for room in stderr.
const PATIENCE: Duration = Duration::from_millis(100);

/// The bytes that a pipe which is ready to be written takes without waiting: `PIPE_BUF` of pipe(7).
const PIPE_BYTES: usize = 4_096;

/// The program's log; when this is dropped, its thread writes what is left and ends.
pub(crate) struct Logging {
    /// Lines for which the queue had no room.
    unqueued: ErrorCounter,
    /// Lines for which stderr had no room.
    unwritten: Arc<AtomicU64>,
    _thread: WorkerGuard,
}

impl Logging {
    /// Starts the log, with the filter of `RUST_LOG`. Panics are written to stderr as well.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
            Ok(filter) => EnvFilter::try_new(filter).context("RUST_LOG is not a filter of logs")?,
            Err(_) => EnvFilter::new(DEFAULT_FILTER),
        };
        std::panic::set_hook(Box::new(report_panic));
        let unwritten = Arc::<AtomicU64>::default();
        let (writer, thread) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(LINES)
            .thread_name("log-lines")
            .finish(Lines { is_taken: true, unwritten: unwritten.clone() });
        let unqueued = writer.error_counter();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(writer)
            .with_ansi(io::stderr().is_terminal())
            .init();
        Ok(Self { unqueued, unwritten, _thread: thread })
    }

    /// Registers the count of dropped lines.
    pub(crate) fn count_dropped(&self, metrics: &prometheus::Registry) -> prometheus::Result<()> {
        let (unqueued, unwritten) = (self.unqueued.clone(), self.unwritten.clone());
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 lines")]
        let dropped = move || (unqueued.dropped_lines() as u64 + unwritten.load(Relaxed)) as f64;
        metrics.register(Box::new(PullingGauge::new(
            "dormouse_log_lines_dropped",
            "Lines of the program's log since its start that were dropped because stderr did not take them in time.",
            Box::new(dropped),
        )?))
    }
}

/// Writes a line to stderr, unless stderr has no room for it in time.
pub(crate) fn write_line(line: impl Display) {
    write(format!("{line}\n").as_bytes(), PATIENCE);
}

/// The writer of the log's thread. It gets a line a call.
struct Lines {
    /// Stderr has taken the last line.
    is_taken: bool,
    unwritten: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Only one line waits for a reader that reads nothing. So the thread empties the queue in time even then.
        let patience = if self.is_taken { PATIENCE } else { Duration::ZERO };
        self.is_taken = write(line, patience);
        self.unwritten.fetch_add(u64::from(!self.is_taken), Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn report_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    write_line(format_args!("thread '{name}' {panic}"));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        write_line(trace);
    }
}

/// Writes to stderr; false if it had no room in time, or has no reader.
fn write(text: &[u8], patience: Duration) -> bool {
    // Locked from the look at the room on, so that no other thread takes it.
    let mut stderr = io::stderr().lock();
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    text.chunks(PIPE_BYTES).all(|chunk| {
        let mut room = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        let has_room = poll(&mut room, timeout).is_ok_and(|ready| ready > 0);
        has_room && stderr.write_all(chunk).is_ok()
    })
}
