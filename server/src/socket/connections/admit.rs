//! What may be posted: the one decision about every request, made before anything is done for it. Memory is decided where it is
//! taken, by a permit of the budget.

use dormouse_protocol::{ErrorCode, Join, ObjectName, Payload, Watch};

use super::Connections;
use super::connection::Membership;
use crate::auth::{Verb, Verbs};
use crate::log::ObjectId;
use crate::object::Refusal;
use crate::rates::{Limited, Quantity};

/// Why a request is refused for which the budget has no room.
pub(in crate::socket) const SHORT_OF_MEMORY: &str =
    "the server is short of memory; try again later";

/// What a request wants, with what it costs.
pub(in crate::socket) enum Demand<'a> {
    Join(&'a Join),
    Publish(ObjectId),
    /// To so many members.
    Signal(ObjectId, usize),
    /// With what the member says of itself; `None` takes it out of the roster.
    SetPresence(Option<&'a Payload>),
    /// Of the log or of a roster.
    Read,
}

impl Connections {
    /// The connection's membership of an object. Without one, or without the right to this, the request is refused.
    pub(in crate::socket) fn member(
        &mut self,
        key: usize,
        object: u64,
        request: Option<u32>,
        verb: Option<Verb>,
    ) -> Option<Membership> {
        let joined = self[key].joined(ObjectId(object));
        if joined.is_none() {
            let why =
                "this connection has not joined that object; `object` is the number in `joined`";
            self.refuse(key, request, ErrorCode::NotJoined, why);
        }
        let joined = joined?;
        if let Some(verb) = verb.filter(|verb| !joined.verbs.contains(*verb)) {
            let why = forbidden(verb);
            self.refuse(key, request, ErrorCode::Forbidden, &why);
            return None;
        }
        Some(joined)
    }

    /// Whether a request may be posted. Otherwise it is refused here.
    pub(in crate::socket) fn admit(
        &mut self,
        key: usize,
        request: Option<u32>,
        demand: &Demand<'_>,
    ) -> bool {
        if let Err(Refusal { code, message }) = self.decide(key, demand) {
            self.refuse(key, request, code, &message);
            return false;
        }
        if let Err(limited) = self.count_demand(key, demand) {
            self.refuse_limited(key, request, limited);
            return false;
        }
        true
    }

    fn count_demand(&self, key: usize, demand: &Demand<'_>) -> Result<(), Limited> {
        match demand {
            Demand::Publish(object) => self.count(key, Quantity::Publishes, 1, Some(*object)),
            Demand::Signal(object, audience) => {
                self.count(key, Quantity::Deliveries, *audience, Some(*object))
            }
            Demand::Join(_) | Demand::Read => self.count(key, Quantity::Reads, 1, None),
            Demand::SetPresence(_) => Ok(()),
        }
    }

    fn decide(&self, key: usize, demand: &Demand<'_>) -> Result<(), Refusal> {
        let connection = &self[key];
        let limits = &self.common.settings.limits;
        match demand {
            Demand::Join(join) => {
                let class = join.object.class();
                if !self.common.registry.knows_class(class) {
                    let why = format!("there is no class `{class}` here; try `room/…`");
                    return Err(Refusal::new(ErrorCode::UnknownClass, why));
                }
                self.may_join(key, join)?;
                if connection.joins.len() >= limits.joins as usize {
                    let joins = limits.joins;
                    let why = format!("a connection may join {joins} objects; leave one first");
                    return Err(Refusal::new(ErrorCode::TooManyJoins, why));
                }
                self.presence_fits(join.presence.as_ref())?;
            }
            Demand::Publish(_) if connection.activity.in_flight >= limits.in_flight => {
                let limit = limits.in_flight;
                let why = format!("{limit} requests wait for their reply; wait for one of them");
                return Err(Refusal::new(ErrorCode::TooManyInFlight, why));
            }
            Demand::SetPresence(data) => self.presence_fits(*data)?,
            Demand::Publish(_) | Demand::Signal(..) | Demand::Read => {}
        }
        Ok(())
    }

    /// What the connection may do with an object.
    pub(in crate::socket) fn verbs(&self, key: usize, object: &ObjectName) -> Verbs {
        self.access(key).map_or(Verbs::ALL, |access| access.verbs(object))
    }

    fn may_join(&self, key: usize, join: &Join) -> Result<(), Refusal> {
        let verbs = self.verbs(key, &join.object);
        let is_seen = join.presence.is_some() || join.watch != Watch::None;
        let wanted = [Some(Verb::Join), is_seen.then_some(Verb::Presence)];
        match wanted.into_iter().flatten().find(|verb| !verbs.contains(*verb)) {
            Some(verb) => Err(Refusal::new(ErrorCode::Forbidden, forbidden(verb))),
            None => Ok(()),
        }
    }

    fn presence_fits(&self, presence: Option<&Payload>) -> Result<(), Refusal> {
        let limit = self.common.settings.limits.presence_bytes;
        if presence.is_some_and(|data| data.as_msgpack().len() > limit as usize) {
            let why = format!("a presence has at most {limit} bytes in MessagePack");
            return Err(Refusal::new(ErrorCode::PresenceTooLarge, why));
        }
        Ok(())
    }
}

fn forbidden(verb: Verb) -> String {
    format!(
        "no grant of this connection's token allows `{verb}` here: connect with a token that has such a grant"
    )
}
