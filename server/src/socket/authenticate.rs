//! A new token on an open connection: it replaces the one before, and ends memberships that it does not allow.

use dormouse_protocol::{Auth, CloseCode, ErrorCode, Removed, ServerMessage};

use super::connections::Connections;
use super::reactor::Reactor;
use crate::auth::{Admitted, Verb, Verbs};
use crate::object::presence::Departing;
use crate::rates::Quantity;

impl Reactor {
    /// Checks a token of the connection's user and puts it into the place of the one before. One that is not valid changes nothing.
    pub(super) fn authenticate(&mut self, key: usize, auth: &Auth) {
        let now_ms = self.common.registry.now_ms();
        let admitted = match self.common.auth.admit(Some(&auth.token), now_ms) {
            Ok(Some(admitted)) => admitted,
            // Everybody may do everything.
            Ok(None) => return self.connections.done(key, auth.id),
            Err(refusal) => {
                self.connections.refuse(
                    key,
                    Some(auth.id),
                    ErrorCode::Forbidden,
                    &refusal.to_string(),
                );
                if self.connections.count(key, Quantity::FailedAuths, 1, None).is_err() {
                    self.close(key, CloseCode::RateLimited);
                }
                return;
            }
        };
        if !self.connections.is_user(key, &admitted) {
            let why = "the token is of another user: connect anew with it";
            return self.connections.refuse(key, Some(auth.id), ErrorCode::Forbidden, why);
        }
        self.connections.set_access(key, admitted);
        self.connections.done(key, auth.id);
        self.check_memberships(key);
    }

    /// Ends the memberships that the connection's token does not allow, and gives the others the verbs that it does.
    fn check_memberships(&mut self, key: usize) {
        for joined in self.connections[key].joins.clone() {
            let verbs = self.connections.verbs(key, &self.memberships.name_of(joined));
            if may_stay(joined.verbs, verbs) {
                let joins = &mut self.connections[key].joins;
                if let Some(kept) = joins.iter_mut().find(|kept| kept.object == joined.object) {
                    kept.verbs = verbs;
                }
                continue;
            }
            self.memberships.leave(&mut self.connections, key, joined.object, Departing::Leave);
            self.connections[key].queue(&ServerMessage::Removed(Removed {
                object: joined.object.0,
                code: ErrorCode::Forbidden,
                message: "the new token does not allow this membership".into(),
            }));
            self.connections.queue_write(key);
        }
    }
}

/// What a membership shows of the roster was decided when it began: without the right to see it, it ends.
fn may_stay(before: Verbs, now: Verbs) -> bool {
    let sees_less = before.contains(Verb::Presence) && !now.contains(Verb::Presence);
    now.contains(Verb::Join) && !sees_less
}

impl Connections {
    fn is_user(&self, key: usize, admitted: &Admitted) -> bool {
        let user = self.access(key).and_then(|access| access.subject.user());
        user == admitted.access.subject.user()
    }
}
