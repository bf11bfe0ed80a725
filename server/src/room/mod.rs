//! The built-in class `room`: every member may publish, and everything published is an event.
//!
//! Knows objects only, and has no privileges over the classes to come.

use std::sync::Arc;

use crate::object::{Class, Context, Message, Object};

/// The name of the class, as in `room/lobby`.
pub const CLASS: &str = "room";

struct Room;

/// Makes rooms.
pub fn class() -> Class {
    Arc::new(|_identity| Box::new(Room))
}

impl Object for Room {
    fn message(&mut self, context: &mut Context<'_>, message: Message) {
        context.publish(message);
    }
}
