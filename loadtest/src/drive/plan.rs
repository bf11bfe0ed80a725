//! Who is in which room, and who of them publishes.

/// Rooms that are alike. Members and publishers are numbered over all rooms, room by room; the first members of a room are
/// its publishers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Rooms.
    pub(crate) rooms: u32,
    /// Members of each room.
    pub(crate) members_each: u32,
    /// Publishers among them.
    pub(crate) publishers_each: u32,
}

impl Plan {
    /// All members.
    pub(crate) fn members(self) -> u32 {
        self.rooms * self.members_each
    }

    /// All publishers.
    pub(crate) fn publishers(self) -> u32 {
        self.rooms * self.publishers_each
    }

    /// The room of a member.
    pub(crate) fn room_of(self, member: u32) -> u32 {
        member / self.members_each
    }

    /// The room in which a publisher publishes.
    pub(crate) fn room_of_publisher(self, publisher: u32) -> u32 {
        publisher / self.publishers_each
    }

    /// Which member a publisher is.
    pub(crate) fn member_of(self, publisher: u32) -> u32 {
        self.room_of_publisher(publisher) * self.members_each + self.nth_of_room(publisher)
    }

    /// Which publisher a member is, if it is one.
    pub(crate) fn publisher_of(self, member: u32) -> Option<u32> {
        let nth = member % self.members_each;
        let first = self.room_of(member) * self.publishers_each;
        (nth < self.publishers_each).then_some(first + nth)
    }

    /// A publisher's number in its room.
    pub(crate) fn nth_of_room(self, publisher: u32) -> u32 {
        publisher % self.publishers_each
    }

    /// The publishers of a room.
    pub(crate) fn publishers_of(self, room: u32) -> std::ops::Range<u32> {
        room * self.publishers_each..(room + 1) * self.publishers_each
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_are_the_first_members_of_their_room() {
        let plan = Plan { rooms: 3, members_each: 5, publishers_each: 2 };
        assert_eq!((plan.members(), plan.publishers()), (15, 6));
        let members = (0..6).map(|publisher| plan.member_of(publisher)).collect::<Vec<_>>();
        assert_eq!(members, [0, 1, 5, 6, 10, 11]);
        for publisher in 0..6 {
            let member = plan.member_of(publisher);
            assert_eq!(plan.publisher_of(member), Some(publisher));
            assert_eq!(plan.room_of(member), plan.room_of_publisher(publisher));
            assert!(plan.publishers_of(plan.room_of(member)).contains(&publisher));
        }
        assert_eq!(plan.publisher_of(7), None);
    }
}
