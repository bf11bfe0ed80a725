//! Exactly one answer to each request, of its kind; and nobody is disconnected by a server that goes on.

use std::collections::{BTreeSet, HashSet};

use dormouse_protocol::{ClientMessage, ErrorCode, ServerMessage};

use super::Talk;
use crate::client::reply_id;
use crate::sim::history::{Connection, End, History, Line};

pub(super) fn check(history: &History, wrong: &mut Vec<String>) {
    for diary in &history.clients {
        for connection in &diary.connections {
            let mut note = |what: String| wrong.push(format!("{}: {what}", diary.session));
            check_end(connection, history.restarts, &mut note);
            check_welcome(connection, &diary.session, &mut note);
            check_connection(connection, &history.crashed, &mut note);
        }
    }
}

fn check_end(connection: &Connection, restarts: u64, note: &mut impl FnMut(String)) {
    if let End::ByServer(code) = connection.end {
        let is_stop = restarts > 0 && matches!(code, Some(3000) | None);
        if !is_stop {
            note(format!("the server has closed with {code:?}"));
        }
    }
}

fn check_welcome(connection: &Connection, session: &str, note: &mut impl FnMut(String)) {
    let mut got = connection.lines.iter().filter_map(|line| match line {
        Line::Got(message) => Some(message),
        Line::Sent(_) => None,
    });
    match got.next() {
        Some(ServerMessage::Welcome(welcome)) if *welcome.session == *session => {}
        None if connection.end != End::Lived => {}
        other => note(format!("{other:?} instead of the welcome to its session")),
    }
    if got.any(|message| matches!(message, ServerMessage::Welcome(_))) {
        note("a second welcome".to_owned());
    }
}

fn check_connection(
    connection: &Connection,
    crashed: &BTreeSet<String>,
    note: &mut impl FnMut(String),
) {
    let talk = Talk::of(connection);
    let mut answered = HashSet::new();
    for line in &connection.lines {
        let Line::Got(message) = line else { continue };
        if let ServerMessage::Error(error) = message
            && error.id.is_none()
        {
            note(format!("{error:?} without a request"));
        }
        let Some(id) = reply_id(message) else { continue };
        match talk.requests.get(&id) {
            None => note(format!("{message:?} answers nothing")),
            Some(request) if !is_answer(request, message) => {
                note(format!("{message:?} is no answer to {request:?}"));
            }
            Some(ClientMessage::Publish(publish)) if is_internal(message) => {
                let room = talk.names.get(&publish.object).copied().unwrap_or_default();
                if !crashed.contains(room) {
                    note(format!("{message:?} though {room} has not crashed"));
                }
            }
            Some(_) => {}
        }
        if !answered.insert(id) {
            note(format!("a second answer: {message:?}"));
        }
    }
    if connection.end == End::Lived {
        for (id, request) in &talk.requests {
            if !answered.contains(id) {
                note(format!("no answer to {request:?}"));
            }
        }
    }
}

fn is_internal(reply: &ServerMessage) -> bool {
    matches!(reply, ServerMessage::Error(error) if error.code == ErrorCode::Internal)
}

/// Whether a reply may be the answer to a request of a correct client.
fn is_answer(request: &ClientMessage, reply: &ServerMessage) -> bool {
    use ErrorCode::{Internal, Overloaded, Unavailable};
    match (request, reply) {
        (ClientMessage::Publish(_), ServerMessage::Error(error)) => {
            matches!(error.code, Internal | Overloaded | Unavailable)
        }
        (_, ServerMessage::Error(error)) => error.code == Unavailable,
        (ClientMessage::Join(_), ServerMessage::Joined(_))
        | (ClientMessage::Publish(_), ServerMessage::Published(_))
        | (ClientMessage::History(_), ServerMessage::History(_))
        | (ClientMessage::PresenceGet(_), ServerMessage::Roster(_))
        | (
            ClientMessage::Leave(_)
            | ClientMessage::Signal(_)
            | ClientMessage::PresenceSet(_)
            | ClientMessage::Ping(_),
            ServerMessage::Done(_),
        ) => true,
        _ => false,
    }
}
