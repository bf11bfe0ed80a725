//! The text that results from transactions which were made at the same time.

use diamond_types::list::OpLog;

use super::trace::{Change, Patch};

/// Applies `count` changes with the indexes `0..count`, each given after its parents, and tells the text.
///
/// Any order that keeps parents first gives the same text. May panic where one comes before its parent.
pub fn merge<'a>(count: usize, changes: impl IntoIterator<Item = &'a Change>) -> String {
    let mut log = OpLog::new();
    // The versions that stand for a transaction: its last operation, or its parents' where it has none.
    let mut versions: Vec<Vec<usize>> = vec![Vec::new(); count];
    for change in changes {
        // Concurrent inserts at one place are ordered by the agents' names.
        let agent = log.get_or_create_agent_id(&change.agent.to_string());
        let mut version: Vec<usize> =
            change.parents.iter().flat_map(|p| versions[*p].iter().copied()).collect();
        version.sort_unstable();
        version.dedup();
        for Patch(position, removed, inserted) in &change.patches {
            if *removed > 0 {
                let range = *position..*position + *removed;
                version = vec![log.add_delete_at(agent, &version, range)];
            }
            if !inserted.is_empty() {
                version = vec![log.add_insert_at(agent, &version, *position, inserted)];
            }
        }
        versions[change.i] = version;
    }
    log.checkout_tip().content().to_string()
}
