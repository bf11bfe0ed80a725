//! Messages as the protocol's own crate writes them are understood, and what is written it understands, in both encodings.

use dormouse_protocol::{
    Arrival, CaughtUp, Done, ErrorCode, ErrorReply, Event, Events, Joined, Kind, Presence, Present,
    Publish, Published, Roster, ServerMessage, Signal, SignalItem, Signals,
};

use super::*;

/// A masked frame of less than 126 bytes.
const HEADER_BYTES: usize = 6;
const ENCODINGS: [Encoding; 2] = [Encoding::Msgpack, Encoding::Json];

fn number(number: u32) -> Payload {
    Payload::of(&number).unwrap()
}

fn text(text: &str) -> Payload {
    Payload::of(&text).unwrap()
}

/// What a member that has joined makes of a message, as text, and what it answers.
fn take(encoding: Encoding, message: &ServerMessage) -> Result<(Vec<String>, Vec<u8>)> {
    let wire = Dormouse::new(encoding);
    let mut peer = wire.peer(0, 0);
    let bytes = encoding.encode_server(message);
    let (mut notices, mut out) = (Vec::new(), Vec::new());
    wire.message(&mut peer, &bytes, &mut out, &mut |notice| notices.push(format!("{notice:?}")))?;
    Ok((notices, out))
}

fn notices(message: &ServerMessage) -> Vec<String> {
    let [msgpack, json] = ENCODINGS.map(|encoding| take(encoding, message).unwrap().0);
    assert_eq!(msgpack, json);
    json
}

/// The one message that these frames are.
fn sent(encoding: Encoding, out: &[u8]) -> ClientMessage {
    encoding.decode_client(&out[HEADER_BYTES..]).unwrap()
}

#[test]
fn publishes_are_what_the_protocol_says() {
    for encoding in ENCODINGS {
        let mut wire = Dormouse::new(encoding);
        let mut peer = Peer { object: 12, ..wire.peer(0, 0) };
        let mut out = Vec::new();
        wire.publish(&mut peer, b"hello", &mut out);
        let (kind, data) = (Kind::default(), text("hello"));
        let publish =
            Publish { id: 1, object: 12, kind, data: data.clone(), key: None, after: None };
        assert_eq!(sent(encoding, &out), ClientMessage::Publish(publish));

        wire = wire.delivering(Delivery::Signals);
        out.clear();
        wire.publish(&mut peer, b"hello", &mut out);
        let signal = Signal { id: None, object: 12, data, key: None };
        assert_eq!(sent(encoding, &out), ClientMessage::Signal(signal));
    }
}

#[test]
fn deliveries_are_told_in_order() {
    let event = |offset, data, key: Option<&str>| Event {
        offset,
        time: 1_795_435_200_000,
        sender: "q3vmb2zk5s4tq".into(),
        kind: Kind::default(),
        data: text(data),
        key: key.map(|key| key.parse().unwrap()),
        user: None,
    };
    let events = vec![event(41, "one", None), event(70_000, "two", Some("k"))];
    let told = notices(&ServerMessage::Events(Events { object: 12, events }));
    let delivered = |payload: &str, offset| {
        format!("{:?}", Notice::Delivered { payload: payload.as_bytes(), offset })
    };
    assert_eq!(told, [delivered("one", Some(41)), delivered("two", Some(70_000))]);

    let signal = |data, key: Option<&str>| SignalItem {
        sender: "q3vmb2zk5s4tq".into(),
        data: text(data),
        key: key.map(|key| key.parse().unwrap()),
    };
    let signals = vec![signal("one", Some("k")), signal("two", None)];
    let told = notices(&ServerMessage::Signals(Signals { object: 12, signals }));
    assert_eq!(told, [delivered("one", None), delivered("two", None)]);
}

#[test]
fn a_member_resumes_after_what_it_has_received() {
    for encoding in ENCODINGS {
        let wire = Dormouse::new(encoding);
        let mut peer = wire.peer(3, 0);
        let mut out = Vec::new();
        let mut starts = Vec::new();
        for resumed in [false, true] {
            out.clear();
            assert_eq!(wire.join(&mut peer, &mut out), Membership::Awaited);
            let ClientMessage::Join(join) = sent(encoding, &out) else { panic!("a join") };
            starts.push(join.from);
            let joined = Joined {
                id: join.id,
                object: 12,
                epoch: 7,
                head: 40,
                from: 40,
                resumed,
                member: 9,
                reset: None,
            };
            let bytes = encoding.encode_server(&ServerMessage::Joined(joined));
            let mut told = None;
            wire.message(&mut peer, &bytes, &mut out, &mut |notice| {
                told = Some(format!("{notice:?}"));
            })
            .unwrap();
            assert_eq!(told, Some(format!("{:?}", Notice::Joined { from: Some(40) })));
        }
        assert_eq!(starts, [Start::Now, Start::After(Position { epoch: 7, offset: 40 })]);
    }
}

#[test]
fn a_resume_that_was_not_granted_is_an_error() {
    let wire = Dormouse::new(Encoding::Json);
    let position = Some(Position { epoch: 7, offset: 40 });
    let mut peer = Peer { position, ..wire.peer(3, 0) };
    let joined = Joined {
        id: 1,
        object: 12,
        epoch: 8,
        head: 0,
        from: 0,
        resumed: false,
        member: 9,
        reset: None,
    };
    let bytes = Encoding::Json.encode_server(&ServerMessage::Joined(joined));
    assert!(wire.message(&mut peer, &bytes, &mut Vec::new(), &mut |_| ()).is_err());
}

#[test]
fn presence_has_exactly_so_many_bytes() {
    for (member, bytes, said) in [(7, 4, "0007"), (12_345, 4, "2345"), (12_345, 1, "5")] {
        let wire = Dormouse::new(Encoding::Json).in_plain_rooms();
        let wire = wire.in_company(Company::Present { bytes });
        let mut out = Vec::new();
        wire.join(&mut wire.peer(member, 3), &mut out);
        let ClientMessage::Join(join) = sent(Encoding::Json, &out) else { panic!("a join") };
        assert_eq!(join.object.as_str(), "room/3");
        assert_eq!(join.presence, Some(Payload::of(&BTreeMap::from([("n", said)])).unwrap()));
        assert_eq!(join.watch, Watch::None);
    }
}

#[test]
fn a_roster_tells_who_is_here_and_is_read_to_its_end() {
    let present = |member, data| Present { member, user: "q3vmb2zk5s4tq".into(), data };
    let roster = |id, more| {
        ServerMessage::Roster(Roster {
            id,
            object: 0,
            version: 5,
            members: 2,
            users: 2,
            since: None,
            present: vec![present(1_000_000, number(3)), present(1_000_001, number(70_000))],
            left: vec![],
            more,
        })
    };
    let here = [3, 70_000].map(|member| format!("{:?}", Notice::Present(member)));
    assert_eq!(notices(&roster(Some(1), false)), here);
    assert_eq!(notices(&roster(None, false))[1..], here);
    assert_eq!(notices(&roster(None, false))[0], "RosterBegins");
    for encoding in ENCODINGS {
        let (_, out) = take(encoding, &roster(None, true)).unwrap();
        let get =
            PresenceGet { id: 1, object: 0, since: None, after: Some(1_000_001), limit: None };
        assert_eq!(sent(encoding, &out), ClientMessage::PresenceGet(get));
    }

    let join = vec![Arrival {
        member: 1_000_000,
        user: "q3vmb2zk5s4tq".into(),
        data: number(3),
        first: true,
    }];
    let update = vec![dormouse_protocol::Update { member: 1_000_001, data: number(70_000) }];
    let (members, users, leave) = (2, 2, vec![]);
    let presence = Presence { object: 12, version: 6, members, users, join, update, leave };
    assert_eq!(notices(&ServerMessage::Presence(presence)), here);
}

#[test]
fn what_does_not_matter_is_skipped() {
    let published = Published { id: 6, offset: 41, time: 1_795_435_200_000, duplicate: false };
    assert!(notices(&ServerMessage::Published(published)).is_empty());
    assert!(notices(&ServerMessage::Done(Done { id: 5 })).is_empty());
    let caught_up = ServerMessage::CaughtUp(CaughtUp { object: 12, offset: 42 });
    assert_eq!(notices(&caught_up), ["CaughtUp"]);
}

#[test]
fn refusals_and_nonsense_are_errors() {
    let refusal = ErrorReply {
        id: Some(1),
        code: ErrorCode::Overloaded,
        message: "later".into(),
        retry_after_ms: None,
    };
    for encoding in ENCODINGS {
        let error = take(encoding, &ServerMessage::Error(refusal.clone())).unwrap_err().to_string();
        assert!(error.contains("overloaded: later"), "{error}");
        let wire = Dormouse::new(encoding);
        for nonsense in [&b"\x81"[..], b"{\"events\":{}}", b"\x81\xa6events\x92\x01\x91"] {
            let mut peer = wire.peer(0, 0);
            assert!(wire.message(&mut peer, nonsense, &mut Vec::new(), &mut |_| ()).is_err());
        }
    }
}
