//! The dashboard asks only for metrics that the server has.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::server::TestServer;

/// The words of an expression, without the text in quotes.
fn words(expression: &str) -> impl Iterator<Item = &str> {
    let outside = expression.split('"').step_by(2);
    outside.flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
}

/// The labels that it groups by: they are the ones that a legend can show.
fn labels(expression: &str) -> impl Iterator<Item = &str> {
    let groups = expression.split("by (").skip(1);
    groups.map(|group| group.split(')').next().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_and_label_of_the_dashboard_exists() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards/dormouse.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let metrics = TestServer::start(|_| {}).await.metrics().await;
    let series = |name: &str| {
        let lines = metrics.lines();
        lines
            .filter_map(move |line| line.strip_prefix(name))
            .find(|line| line.starts_with(['{', ' ']))
    };
    let (mut wrong, mut asked) = (Vec::new(), BTreeSet::new());
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let (expression, legend) = (&target["expr"], target["legendFormat"].as_str().unwrap());
            let expression = expression.as_str().unwrap();
            for name in words(expression)
                .filter(|word| word.starts_with("dormouse_") || word.starts_with("process_"))
            {
                asked.insert(name);
                let Some(series) = series(name) else {
                    wrong.push(format!("{}: there is no {name}", panel["title"]));
                    continue;
                };
                for label in
                    labels(expression).filter(|label| !series.contains(&format!("{label}=\"")))
                {
                    wrong.push(format!("{}: {name} has no label {label}", panel["title"]));
                }
            }
            let shown = legend.strip_prefix("{{").and_then(|legend| legend.strip_suffix("}}"));
            if shown.is_some_and(|label| labels(expression).all(|other| other != label)) {
                wrong.push(format!("{}: {legend} is not what it groups by", panel["title"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(asked.len() > 40, "the test sees {} metrics", asked.len());
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
}
