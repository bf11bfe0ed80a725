//! The request `auth`: a token replaces the one of the connection, or is its first, and ends the memberships that it does not allow.

use dormouse_protocol::{Auth, CloseCode, ErrorCode, Removed, ServerMessage};

use super::reactor::Reactor;
use crate::auth::{Verb, Verbs};
use crate::object::presence::Departing;

impl Reactor {
    /// Checks the token, and replaces the connection's token with it. A token that is not valid, or of another user, changes nothing.
    pub(super) fn authenticate(&mut self, key: usize, auth: &Auth) {
        let now_ms = self.common.registry.now_ms();
        let admitted = match self.common.auth.admit(Some(&auth.token), None, now_ms) {
            Ok(Some(admitted)) => admitted,
            // The server has no keys: every client may do everything.
            Ok(None) => return self.connections.done(key, auth.id),
            Err(refusal) => {
                self.connections.refuse(
                    key,
                    Some(auth.id),
                    ErrorCode::Forbidden,
                    &refusal.to_string(),
                );
                if self.connections.count_failed_auth(key).is_err() {
                    self.close(key, CloseCode::RateLimited);
                }
                return;
            }
        };
        let user = admitted.access.subject.shared_user();
        if !self.connections.may_be(key, user.as_deref()) {
            let why = "the token is of another user: connect anew with it";
            return self.connections.refuse(key, Some(auth.id), ErrorCode::Forbidden, why);
        }
        if let Some(user) = user
            && self.connections.user(key).is_none()
            && self.connections.count_user(key, &user).is_err()
        {
            let why = "limits.connections_by_user is reached: close a connection of the user first";
            return self.connections.refuse(key, Some(auth.id), ErrorCode::Forbidden, why);
        }
        self.connections.set_access(key, admitted);
        self.connections.done(key, auth.id);
        self.check_memberships(key);
    }

    /// Ends the memberships that the new token does not allow, and sets the verbs of the others.
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

/// Whether a membership continues. Its join decided what it receives of the roster, so it ends if the right to see the roster is gone.
fn may_stay(before: Verbs, now: Verbs) -> bool {
    let sees_less = before.contains(Verb::Presence) && !now.contains(Verb::Presence);
    now.contains(Verb::Join) && !sees_less
}
