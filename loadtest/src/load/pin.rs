//! Keeping a program on one core, so that the server and the generator don't take time from one another.

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores of this process before it was pinned anywhere.
pub(crate) struct Cores(Vec<usize>);

impl Cores {
    /// Those that this process may use: two or more.
    pub(crate) fn of_this_process() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let is_allowed = |core: &usize| allowed.is_set(*core).unwrap_or(false);
        let cores = (0..CpuSet::count()).filter(is_allowed).collect::<Vec<_>>();
        ensure!(cores.len() > 1, "there is only one core, and two programs to pin");
        Ok(Self(cores))
    }

    /// Keeps this thread, and the processes that it starts from now on, on the core for the server.
    pub(crate) fn use_first(&self) -> Result<()> {
        self.use_nth(0)
    }

    /// Keeps this thread on the core for the generator.
    pub(crate) fn use_last(&self) -> Result<()> {
        self.use_nth(self.0.len() - 1)
    }

    fn use_nth(&self, nth: usize) -> Result<()> {
        let core = self.0[nth];
        let mut set = CpuSet::new();
        set.set(core)?;
        sched_setaffinity(Pid::from_raw(0), &set)
            .with_context(|| format!("cannot keep to core {core}"))
    }
}
