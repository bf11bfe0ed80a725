//! What becomes of the servers of a run, one after another in one directory and on one port.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use tokio::sync::watch;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::check::{Breach, Fault};
use super::plan::{End, Fate, Moment};
use super::stage::{Pace, Stage};
use crate::bench::server::{Launch, Server, Site};

/// How long a server may take to be ready, on a machine that does other things besides.
const START_MAX: Duration = Duration::from_mins(1);
/// How long a server may take to stop in order.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How long to wait for clients to be at work.
const WORK_MAX: Duration = Duration::from_secs(10);

/// Starts servers and ends them.
pub(super) struct Killer {
    pub(super) site: Site,
    pub(super) stage: Arc<Stage>,
    pub(super) port: u16,
    pub(super) settings: Vec<(&'static str, String)>,
    pub(super) tally: Tally,
}

/// What has become of the servers.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Ended with SIGKILL.
    pub(super) kills: u64,
    /// Ended in order.
    pub(super) stops: u64,
    /// How long each server took until it was ready that got there.
    pub(super) starts: Vec<Duration>,
}

impl Killer {
    /// Starts a first server, lets the servers meet their fates, and gives the one that is left. `lose_log` removes the log before
    /// the last start.
    pub(super) async fn run(&mut self, fates: &[Fate], lose_log: bool) -> Result<Server> {
        for (nth, fate) in fates.iter().enumerate() {
            self.meet(fate).await.with_context(|| format!("server {}", nth + 1))?;
            sleep(fate.pause).await;
        }
        if lose_log {
            self.site.lose_log()?;
        }
        self.start().await
    }

    async fn meet(&mut self, fate: &Fate) -> Result<()> {
        if let Moment::Starting(time) = fate.moment {
            let launch = self.launch()?;
            sleep(time).await;
            self.begin_end(fate);
            spawn_blocking(move || drop(launch)).await?;
            self.tally.kills += 1;
            return Ok(());
        }
        let mut server = self.start().await?;
        self.wait(fate.moment).await;
        self.begin_end(fate);
        if let Some(status) = server.ended()? {
            let what = format!("the server has ended by itself: {status}");
            self.stage.judge().note(Fault::new(Breach::Conduct, what));
        }
        match fate.end {
            End::Kill => spawn_blocking(move || drop(server)).await?,
            End::Stop => self.stop(server).await?,
            End::StopAndKill(time) => {
                server.terminate()?;
                sleep(time).await;
                spawn_blocking(move || drop(server)).await?;
            }
        }
        self.tally.kills += u64::from(fate.is_kill());
        self.tally.stops += u64::from(!fate.is_kill());
        self.stage.pace.send_replace(Pace::Normal);
        Ok(())
    }

    fn begin_end(&self, fate: &Fate) {
        self.stage.judge().killed();
        if fate.cuts {
            self.stage.cuts.send_modify(|count| *count += 1);
        }
    }

    /// Waits for the moment.
    async fn wait(&self, moment: Moment) {
        match moment {
            Moment::Starting(time) | Moment::Any(time) => sleep(time).await,
            Moment::Loaded(time) => {
                self.work(&self.stage.acknowledged).await;
                self.stage.pace.send_replace(Pace::Burst);
                sleep(time).await;
            }
            Moment::Resting(time) => {
                self.work(&self.stage.acknowledged).await;
                self.stage.pace.send_replace(Pace::Rest);
                sleep(time).await;
            }
            Moment::Published(time) => {
                self.work(&self.stage.acknowledged).await;
                self.work(&self.stage.sent).await;
                // Timers of the runtime are much coarser.
                let until = Instant::now() + time;
                while Instant::now() < until {
                    yield_now().await;
                }
            }
        }
    }

    /// Waits until it goes on with something; not for ever, as all clients may be done for.
    async fn work(&self, what: &watch::Sender<u64>) {
        let mut what = what.subscribe();
        if timeout(WORK_MAX, what.changed()).await.is_err() {
            let fault = Fault::new(Breach::Conduct, "nobody gets anything done on a server");
            self.stage.judge().note(fault);
        }
    }

    async fn stop(&mut self, mut server: Server) -> Result<()> {
        server.terminate()?;
        let until = Instant::now() + STOP_MAX;
        loop {
            match server.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("told to stop, it ended with {status}"),
                None if Instant::now() > until => bail!("told to stop, it did not"),
                None => sleep(Duration::from_millis(2)).await,
            }
        }
    }

    fn launch(&self) -> Result<Launch> {
        self.site.launch(self.port, &self.settings)
    }

    async fn start(&mut self) -> Result<Server> {
        let start = Instant::now();
        let launch = self.launch()?;
        let pid = launch.pid();
        let mut ready = spawn_blocking(|| launch.ready());
        let Ok(ready) = timeout(START_MAX, &mut ready).await else {
            // Whoever waits for its announcement would wait for ever.
            kill(pid, Signal::SIGKILL)?;
            bail!("the server does not get ready");
        };
        let server = ready??;
        self.tally.starts.push(start.elapsed());
        Ok(server)
    }
}

/// A port that is free, and stays free while nobody listens: below those that systems give to whoever asks for any.
pub(super) fn port() -> Result<u16> {
    let is_free = |port: &u16| -> bool {
        let listened: io::Result<_> = TcpListener::bind((Ipv4Addr::LOCALHOST, *port));
        listened.is_ok()
    };
    let mut tries = (0..100).map(|_| rand::random_range(12_000..32_000));
    tries.find(is_free).context("no port is free")
}
