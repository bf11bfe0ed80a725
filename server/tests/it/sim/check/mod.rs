//! Judges a history by the promises. Pure.

mod answers;
mod publishes;
mod rosters;
mod streams;
mod view;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use dormouse_protocol::{ClientMessage, ServerMessage};

use super::history::{Connection, History, Line};
use crate::client::reply_id;

/// What is wrong with a history; empty if all promises were kept.
pub(super) fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    answers::check(history, &mut wrong);
    streams::check(history, &mut wrong);
    publishes::check(history, &mut wrong);
    rosters::check(history, &mut wrong);
    wrong
}

/// Of one connection: the requests by their ids, the first reply to each, and the names of the objects.
struct Talk<'a> {
    requests: HashMap<u32, &'a ClientMessage>,
    replies: HashMap<u32, &'a ServerMessage>,
    names: HashMap<u64, &'a str>,
}

impl<'a> Talk<'a> {
    fn of(connection: &'a Connection) -> Self {
        let mut talk =
            Self { requests: HashMap::new(), replies: HashMap::new(), names: HashMap::new() };
        for line in &connection.lines {
            match line {
                Line::Sent(message) => {
                    if let Some(id) = request_id(message) {
                        talk.requests.insert(id, message);
                    }
                }
                Line::Got(message) => {
                    let Some(id) = reply_id(message) else { continue };
                    talk.replies.entry(id).or_insert(message);
                    if let (ServerMessage::Joined(joined), Some(ClientMessage::Join(join))) =
                        (message, talk.requests.get(&id))
                    {
                        talk.names.insert(joined.object, join.object.as_str());
                    }
                }
            }
        }
        talk
    }
}

/// The id under which a reply is wanted.
fn request_id(message: &ClientMessage) -> Option<u32> {
    match message {
        ClientMessage::Join(join) => Some(join.id),
        ClientMessage::Leave(leave) => Some(leave.id),
        ClientMessage::Publish(publish) => Some(publish.id),
        ClientMessage::Signal(signal) => signal.id,
        ClientMessage::History(history) => Some(history.id),
        ClientMessage::PresenceSet(set) => Some(set.id),
        ClientMessage::PresenceGet(get) => Some(get.id),
        ClientMessage::Auth(auth) => Some(auth.id),
        ClientMessage::Ping(ping) => Some(ping.id),
    }
}
