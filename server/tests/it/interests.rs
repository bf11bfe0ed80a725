//! What a class decides about: an input that it is interested in goes to the instance in order, every other input is carried out
//! without one (promise 6).

use std::time::Duration;

use dormouse::object::input::{Action, Join};
use dormouse::object::{Class, Classes, Context, Input, Object, PublishRequest, Refusal, Verb};
use dormouse_protocol::{
    self as wire, ClientMessage, Encoding, ErrorCode, Payload, ServerMessage, Signal, Start, Watch,
};

use crate::client::{Client, ENCODINGS};
use crate::server::TestServer;

/// Members have to say who they are, and signals have to be small numbers.
struct Club;

impl Object for Club {
    fn publish(&mut self, context: &mut Context<'_>, request: PublishRequest) {
        context.publish(request);
    }

    fn decide(&mut self, _context: &mut Context<'_>, input: &Input) -> Result<(), Refusal> {
        match &input.action {
            Action::Join(Join { presence: None, .. }) => {
                Err(Refusal::new(ErrorCode::BadRequest, "say who you are in `presence`"))
            }
            Action::Signal(signal) if signal.data != Payload::of(&1).unwrap() => {
                Err(Refusal::new(ErrorCode::BadRequest, "a signal is 1"))
            }
            _ => Ok(()),
        }
    }
}

async fn start() -> TestServer {
    let club = Class::new(|_| Box::new(Club), Duration::from_mins(10))
        .interested_in(Verb::Join)
        .interested_in(Verb::Signal);
    let plain = Class::new(|_| Box::new(Club), Duration::from_mins(10));
    TestServer::start_with(Classes::from([("club", club), ("plain", plain)]), |_| {}).await
}

fn join(id: u32, object: &str, presence: Option<&str>) -> ClientMessage {
    let presence = presence.map(|name| Payload::of(&name).unwrap());
    let join = wire::Join::new(id, object.parse().unwrap(), Start::Now);
    ClientMessage::Join(wire::Join { presence, watch: Watch::Count, ..join })
}

async fn try_join(client: &mut Client, presence: Option<&str>) -> ServerMessage {
    let id = client.id();
    client.send(&join(id, "club/a", presence)).await;
    client.reply(id).await
}

async fn signal(client: &mut Client, object: u64, data: u32) -> ServerMessage {
    let id = client.id();
    let data = Payload::of(&data).unwrap();
    client.send(&ClientMessage::Signal(Signal { id: Some(id), object, data, key: None })).await;
    client.reply(id).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_decides_about_what_it_is_interested_in() {
    let server = start().await;
    for encoding in ENCODINGS {
        let mut client = Client::connect(server.address, encoding).await;
        let ServerMessage::Error(error) = try_join(&mut client, None).await else {
            panic!("it was let in")
        };
        assert_eq!(
            (error.code, &*error.message),
            (ErrorCode::BadRequest, "say who you are in `presence`")
        );
        // A refused join leaves nothing behind: the next one is a first.
        let ServerMessage::Joined(joined) = try_join(&mut client, Some("ada")).await else {
            panic!("it was refused")
        };
        let published = client.publish(joined.object, "hello").await;
        assert_eq!(published.offset, joined.head + 1);
        let ServerMessage::Error(error) = signal(&mut client, joined.object, 2).await else {
            panic!("the signal was taken")
        };
        assert_eq!(&*error.message, "a signal is 1");
        assert!(matches!(signal(&mut client, joined.object, 1).await, ServerMessage::Done(_)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_a_class_is_interested_in_wakes_its_objects() {
    let server = start().await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    let object = client.join_now("plain/a").await;
    // The same class without interests would refuse this signal.
    assert!(matches!(signal(&mut client, object, 2).await, ServerMessage::Done(_)));
    client.leave(object).await;
    assert_eq!(server.metric("dormouse_object_wakes_total{cause=\"input\"}").await, 0);
    assert!(matches!(try_join(&mut client, None).await, ServerMessage::Error(_)));
    assert_eq!(server.metric("dormouse_object_wakes_total{cause=\"input\"}").await, 1);
    server.object_is("club/a", "awake").await;
}
