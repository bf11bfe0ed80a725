//! Keeping a program on one core, so that the server and the generator don't take time from one another.

use anyhow::{Result, ensure};

/// The cores of this process before it was pinned anywhere.
pub(crate) struct Cores(Vec<usize>);

impl Cores {
    /// Those that this process may use: two or more.
    pub(crate) fn of_this_process() -> Result<Self> {
        let cores = system::cores()?;
        ensure!(cores.len() > 1, "there is only one core, and two programs to pin");
        Ok(Self(cores))
    }

    /// Keeps this thread, and the processes that it starts from now on, on the core for the server.
    pub(crate) fn use_first(&self) -> Result<()> {
        system::keep_to(self.0[0])
    }

    /// Keeps this thread on the core for the generator.
    pub(crate) fn use_last(&self) -> Result<()> {
        system::keep_to(self.0[self.0.len() - 1])
    }
}

#[cfg(target_os = "linux")]
mod system {
    use anyhow::{Context as _, Result};
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    pub(super) fn cores() -> Result<Vec<usize>> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let is_allowed = |core: &usize| allowed.is_set(*core).unwrap_or(false);
        Ok((0..CpuSet::count()).filter(is_allowed).collect())
    }

    pub(super) fn keep_to(core: usize) -> Result<()> {
        let mut set = CpuSet::new();
        set.set(core)?;
        sched_setaffinity(Pid::from_raw(0), &set)
            .with_context(|| format!("cannot keep to core {core}"))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use anyhow::{Result, bail};

    pub(super) fn cores() -> Result<Vec<usize>> {
        bail!("--pin needs Linux")
    }

    pub(super) fn keep_to(_: usize) -> Result<()> {
        bail!("--pin needs Linux")
    }
}
