//! Shows the table until the user ends it. Owns the terminal during that time.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};

use super::screen;
use super::server::{AskError, Objects, Source};
use super::summary::Summary;

/// From one answer to the next question.
const EVERY: Duration = Duration::from_secs(1);

/// How long a key or an answer may wait.
const TICK: Duration = Duration::from_millis(100);

/// Asks on another thread: a server that is slow does not hold up keys.
struct Asker {
    rows: Sender<usize>,
    answers: Receiver<Result<Objects, AskError>>,
    is_asking: bool,
    next: Instant,
}

impl Asker {
    fn start(source: Source) -> Self {
        let (rows, questions) = channel::<usize>();
        let (answer, answers) = channel();
        // It ends with its question, when nobody waits for the answer any more.
        thread::spawn(move || {
            for rows in questions {
                if answer.send(source.ask(rows)).is_err() {
                    break;
                }
            }
        });
        Self { rows, answers, is_asking: false, next: Instant::now() }
    }

    /// Asks when it is time; the answer to the question before, once.
    fn turn(&mut self, rows: usize) -> Option<Result<Objects, AskError>> {
        if !self.is_asking && Instant::now() >= self.next {
            self.is_asking = self.rows.send(rows).is_ok();
        }
        let answer = self.answers.try_recv().ok()?;
        self.is_asking = false;
        self.next = Instant::now() + EVERY;
        Some(answer)
    }
}

/// Shows the table, and what changes in it every second, until `q` or Ctrl-C. The terminal is then as it was before.
pub(super) fn run(source: Source, first: Summary) -> io::Result<()> {
    let shown = ratatui::try_init().and_then(|mut terminal| show(&mut terminal, source, first));
    ratatui::restore();
    shown
}

fn show(terminal: &mut DefaultTerminal, source: Source, mut summary: Summary) -> io::Result<()> {
    let mut asker = Asker::start(source);
    let mut problem = None;
    loop {
        terminal.draw(|frame| screen::draw(frame, &summary, problem.as_deref()))?;
        if event::poll(TICK)? && is_enough(&event::read()?) {
            return Ok(());
        }
        match asker.turn(screen::rows_in(terminal.size()?.height)) {
            Some(Ok(objects)) => (summary.objects, problem) = (objects, None),
            Some(Err(error)) => problem = Some(error.to_string()),
            None => {}
        }
    }
}

fn is_enough(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, .. }) = event else { return false };
    match code {
        KeyCode::Char('q') => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}
