//! Rooms whose instances are counted: promise 1, an object never has two.

use std::collections::HashMap;
use std::sync::Arc;

use dormouse_protocol::ObjectName;
use parking_lot::Mutex;

use super::bounds::Bounds;
use super::truth::{Verdict, ensure};
use crate::object::{Class, Context, Object, PublishRequest};

/// How many instances each object has, and the most that any of them had.
#[derive(Clone, Default)]
pub(super) struct Instances(Arc<Mutex<(HashMap<ObjectName, usize>, usize)>>);

/// The same as the built-in class.
struct Room {
    name: ObjectName,
    instances: Instances,
}

impl Instances {
    pub(super) fn class(&self, bounds: &Bounds) -> Class {
        let instances = self.clone();
        let make = move |name: &ObjectName| {
            let mut counts = instances.0.lock();
            let (alive, most) = &mut *counts;
            let count = alive.entry(name.clone()).or_default();
            *count += 1;
            *most = (*most).max(*count);
            Room { name: name.clone(), instances: instances.clone() }
        };
        Class::new(move |identity| Box::new(make(&identity.name)), bounds.sleep_after())
    }

    pub(super) fn judge(&self) -> Verdict {
        let most = self.0.lock().1;
        ensure!(most <= 1, "an object has {most} instances");
        Ok(())
    }
}

impl Object for Room {
    fn publish(&mut self, context: &mut Context<'_>, request: PublishRequest) {
        context.publish(request);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(count) = self.instances.0.lock().0.get_mut(&self.name) {
            *count -= 1;
        }
    }
}
