//! The metrics registry: every part registers its own metrics here, and `GET /metrics` prints them.
//!
//! Owns what belongs to no part: the process and the build. Labels never hold names that clients choose.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::runtime::Handle;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// All metrics of one server.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    tasks: IntGauge,
}

impl Metrics {
    /// A registry with the metrics of the process and the build.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let build = IntGaugeVec::new(
            Opts::new("dormouse_build_info", "Always 1; the labels tell the build."),
            &["version"],
        )?;
        build.with_label_values(&[VERSION]).set(1);
        registry.register(Box::new(build))?;
        let tasks = IntGauge::new("dormouse_tasks", "Tasks of the runtime, as of this scrape.")?;
        registry.register(Box::new(tasks.clone()))?;
        Ok(Self { registry, tasks })
    }

    /// Where the parts register theirs.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Brings the number of tasks up to date. Has to be called within the tokio runtime.
    pub fn count_tasks(&self) {
        let tasks = Handle::current().metrics().num_alive_tasks();
        self.tasks.set(tasks.cast_signed() as i64);
    }

    /// The present values in the text format of Prometheus.
    pub fn gather(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_told() {
        let text = Metrics::new().unwrap().gather().unwrap();
        assert!(
            text.contains(&format!("dormouse_build_info{{version=\"{VERSION}\"}} 1")),
            "{text}"
        );
    }

    #[test]
    fn two_servers_of_one_process_do_not_share_a_registry() {
        let (first, second) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        let counter = prometheus::IntCounter::new("dormouse_test_total", "Only here.").unwrap();
        first.registry().register(Box::new(counter)).unwrap();
        assert!(first.gather().unwrap().contains("dormouse_test_total"));
        assert!(!second.gather().unwrap().contains("dormouse_test_total"));
    }
}
