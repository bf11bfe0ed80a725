//! The JSON form. Texts are borrowed; only lists are allocated.

use std::borrow::Cow;

use anyhow::Result;
use serde::Deserialize;

use super::Said;

/// One message: a map with one entry. Others than these are ignored, and so are further fields.
#[derive(Deserialize)]
struct Message<'a> {
    joined: Option<Joined>,
    #[serde(borrow)]
    events: Option<Events<'a>>,
    #[serde(borrow)]
    signals: Option<Signals<'a>>,
    caught_up: Option<Ignored>,
    reset: Option<Ignored>,
    roster: Option<Roster>,
    presence: Option<Presence>,
    #[serde(borrow)]
    error: Option<Refusal<'a>>,
}

#[derive(Deserialize)]
struct Joined {
    object: u64,
    epoch: u32,
    from: u64,
    resumed: bool,
}

#[derive(Deserialize)]
struct Events<'a> {
    #[serde(borrow)]
    events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    offset: u64,
    data: &'a str,
}

#[derive(Deserialize)]
struct Signals<'a> {
    #[serde(borrow)]
    signals: Vec<Signal<'a>>,
}

#[derive(Deserialize)]
struct Signal<'a> {
    data: &'a str,
}

#[derive(Deserialize)]
struct Roster {
    id: Option<u32>,
    present: Vec<Entry>,
    left: Vec<u64>,
    more: bool,
}

#[derive(Deserialize)]
struct Presence {
    join: Vec<Entry>,
    update: Vec<Entry>,
    leave: Vec<Ignored>,
}

#[derive(Deserialize)]
struct Entry {
    member: u64,
    data: u32,
}

#[derive(Deserialize)]
struct Refusal<'a> {
    code: &'a str,
    // It may hold escapes.
    #[serde(borrow)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Ignored {}

/// Tells what a message says.
pub(super) fn read(message: &[u8], take: &mut impl FnMut(Said<'_>) -> Result<()>) -> Result<()> {
    let message = serde_json::from_slice::<Message<'_>>(message)?;
    for Event { offset, data } in message.events.into_iter().flat_map(|m| m.events) {
        take(Said::Event { offset, data: data.as_bytes() })?;
    }
    for Signal { data } in message.signals.into_iter().flat_map(|m| m.signals) {
        take(Said::Signal { data: data.as_bytes() })?;
    }
    if let Some(Joined { object, epoch, from, resumed }) = message.joined {
        take(Said::Joined { object, epoch, from, resumed })?;
    }
    if message.caught_up.is_some() {
        take(Said::CaughtUp)?;
    }
    if message.reset.is_some() {
        take(Said::Reset)?;
    }
    if let Some(roster) = message.roster {
        if roster.id.is_none() {
            take(Said::RosterBegins)?;
        }
        present(&roster.present, take)?;
        roster.left.iter().try_for_each(|_| take(Said::Left))?;
        if roster.more {
            let after = roster.present.last().map_or(0, |entry| entry.member);
            take(Said::RosterGoesOn { after })?;
        }
    }
    if let Some(presence) = message.presence {
        present(&presence.join, take)?;
        present(&presence.update, take)?;
        presence.leave.iter().try_for_each(|_| take(Said::Left))?;
    }
    if let Some(Refusal { code, message }) = message.error {
        take(Said::Error { code: code.as_bytes(), message: message.as_bytes() })?;
    }
    Ok(())
}

fn present(entries: &[Entry], take: &mut impl FnMut(Said<'_>) -> Result<()>) -> Result<()> {
    entries.iter().try_for_each(|entry| take(Said::Present { member: entry.data }))
}
