//! Where and when a comparison was made.

use std::fmt::{self, Display};
use std::fs;
use std::time::SystemTime;

use anyhow::Result;
use humantime::format_rfc3339_seconds;
use serde::Serialize;

/// A machine at a moment.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    /// In RFC 3339, UTC.
    date: String,
    processor: String,
    cores: usize,
    kernel: String,
}

impl Machine {
    /// This one, now.
    pub(super) fn of_now() -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            date: format_rfc3339_seconds(SystemTime::now()).to_string(),
            processor: model(&processors).unwrap_or("an unknown processor").to_owned(),
            // Not what this process may use: that is one of them.
            cores: processors.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: kernel.trim().to_owned(),
        })
    }
}

fn model(processors: &str) -> Option<&str> {
    let line = processors.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

impl Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, processor, cores, kernel } = self;
        write!(f, "{date}, {processor}, {cores} cores, Linux {kernel}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_stands_behind_a_colon() {
        let text = "processor\t: 0\nmodel name\t: Some CPU: fast @ 3 GHz\n";
        assert_eq!(model(text), Some("Some CPU: fast @ 3 GHz"));
        assert_eq!(model("processor\t: 0\n"), None);
    }
}
