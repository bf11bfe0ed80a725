//! The built-in class `room`: every member may publish, and each publish becomes an event.
//!
//! Knows objects only, through the same interface as every other class.

use std::time::Duration;

use crate::object::{Class, Context, Object, PublishRequest};

/// The name of the class, as in `room/lobby`.
pub const CLASS: &str = "room";

struct Room;

/// The class; its rooms sleep after `sleep_after` without a message.
pub fn class(sleep_after: Duration) -> Class {
    Class::new(|_identity| Box::new(Room), sleep_after)
}

impl Object for Room {
    fn publish(&mut self, context: &mut Context<'_>, request: PublishRequest) {
        context.publish(request);
    }
}
