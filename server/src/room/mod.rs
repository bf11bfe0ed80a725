//! The built-in class `room`: every member may publish, and everything published is an event.
//!
//! Knows objects only, and has no privileges over the classes to come.

use std::time::Duration;

use crate::object::{Class, Context, Object, PublishRequest};

/// The name of the class, as in `room/lobby`.
pub const CLASS: &str = "room";

struct Room;

/// Rooms that fall asleep after so long without a message.
pub fn class(sleep_after: Duration) -> Class {
    Class::new(|_identity| Box::new(Room), sleep_after)
}

impl Object for Room {
    fn publish(&mut self, context: &mut Context<'_>, request: PublishRequest) {
        context.publish(request);
    }
}
