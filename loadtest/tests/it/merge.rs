//! The merge gives the recorded texts, in whatever order the log holds what happened at the same time.

use dormouse_loadtest::replay::merge::merge;
use dormouse_loadtest::replay::trace::{Change, Trace};

/// Every order in which one agent goes as far as it can before the next one does.
fn orders(trace: &Trace) -> Vec<Vec<Change>> {
    (0..trace.num_agents).map(|first| order(trace, first)).collect()
}

fn order(trace: &Trace, first: usize) -> Vec<Change> {
    let mut left: Vec<_> =
        (0..trace.num_agents).map(|agent| trace.of_agent(agent).peekable()).collect();
    let mut done = vec![false; trace.txns.len()];
    let mut changes = Vec::new();
    while changes.len() < trace.txns.len() {
        for turn in 0..trace.num_agents {
            let agent = &mut left[(first + turn) % trace.num_agents];
            while let Some(i) = agent.next_if(|i| trace.txns[*i].parents.iter().all(|p| done[*p])) {
                done[i] = true;
                changes.push(trace.change(i));
            }
        }
    }
    changes
}

fn assert_merges(trace: &Trace) {
    let count = trace.txns.len();
    let recorded: Vec<_> = (0..count).map(|i| trace.change(i)).collect();
    for changes in orders(trace).iter().chain([&recorded]) {
        assert!(merge(count, changes) == trace.end_content, "the text is another one");
    }
}

#[test]
fn our_own_recording_gives_its_text() {
    assert_merges(&crate::duet());
}

#[test]
fn the_large_recording_gives_its_text() {
    let Some(path) = crate::clownschool_path() else { return };
    assert_merges(&Trace::read(&path).unwrap());
}
