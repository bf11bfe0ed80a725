//! Promise 9, everything has a bound: the rate limits, in simulated time.

use tokio::time::advance;

use super::*;

fn rates(limits: &[(Scope, Quantity, &str)]) -> Rates {
    let limits =
        limits.iter().map(|(scope, quantity, text)| (*scope, *quantity, text.parse().unwrap()));
    let settings = Settings {
        limits: limits.collect(),
        connections_by_address: 2,
        connections_by_user: 1,
        ..Settings::default()
    };
    Rates::new(settings, &Registry::new()).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_waits_as_it_is_told_goes_on() {
    let rates = rates(&[(Scope::Connection, Quantity::Publishes, "10/s burst 3")]);
    let client = rates.enter(address("1.2.3.4"), None, 1).unwrap().unwrap();
    let publish = || rates.admit(&client, Quantity::Publishes, 1, Some(7));
    for _ in 0..3 {
        publish().unwrap();
    }
    let limited = publish().unwrap_err();
    assert_eq!(
        limited,
        Limited { scope: Scope::Connection, retry_after: Duration::from_millis(100) }
    );
    advance(Duration::from_millis(99)).await;
    assert_eq!(publish().unwrap_err().retry_after, Duration::from_millis(1));
    advance(Duration::from_millis(1)).await;
    publish().unwrap();
    assert!(publish().is_err());
    rates.admit(&client, Quantity::Reads, 1, Some(7)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_scope_has_its_own_count() {
    let rates = rates(&[
        (Scope::Address, Quantity::Requests, "1/s burst 4"),
        (Scope::User, Quantity::Requests, "1/s burst 3"),
        (Scope::Object, Quantity::Publishes, "1/s burst 2"),
    ]);
    let ada = rates.enter(address("2001:db8::1"), Some("ada"), 1).unwrap().unwrap();
    let bob = rates.enter(address("2001:db8::2"), Some("bob"), 2).unwrap().unwrap();
    let request =
        |client| rates.admit(client, Quantity::Requests, 1, None).map_err(|limited| limited.scope);
    assert_eq!([(); 3].map(|()| request(&ada)), [Ok(()); 3]);
    assert_eq!(request(&bob), Ok(()));
    assert_eq!(request(&bob), Err(Scope::Address), "they are in one network");
    advance(Duration::from_secs(1)).await;
    assert_eq!(request(&ada), Ok(()));
    let publish =
        |client, object| rates.admit(client, Quantity::Publishes, 1, Some(object)).is_ok();
    assert!(publish(&ada, 1) && publish(&bob, 1) && !publish(&ada, 1), "an object has one count");
    assert!(publish(&ada, 2));
}

/// A client that exceeds its own limit uses up nothing that others share with it.
#[tokio::test(start_paused = true)]
async fn a_flood_of_one_connection_leaves_the_limit_of_the_address_to_others() {
    let rates = rates(&[
        (Scope::Address, Quantity::Publishes, "1/h burst 10"),
        (Scope::Object, Quantity::Publishes, "1/h burst 10"),
        (Scope::Connection, Quantity::Publishes, "1/h burst 2"),
    ]);
    let enter = |number| rates.enter(address("1.2.3.4"), None, number).unwrap().unwrap();
    let (flooder, other) = (enter(1), enter(2));
    for _ in 0..100 {
        let _ = rates.admit(&flooder, Quantity::Publishes, 1, Some(7));
    }
    rates.admit(&other, Quantity::Publishes, 1, Some(7)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn more_than_may_come_at_once_takes_all_of_it() {
    let rates = rates(&[(Scope::Connection, Quantity::Deliveries, "10/s burst 100")]);
    let client = rates.enter(address("1.2.3.4"), None, 1).unwrap().unwrap();
    rates.admit(&client, Quantity::Deliveries, 1_000, None).unwrap();
    let limited = rates.admit(&client, Quantity::Deliveries, 1_000, None).unwrap_err();
    assert_eq!(limited.retry_after, Duration::from_secs(10));
    rates.admit(&client, Quantity::Deliveries, 0, None).unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_fails_to_authenticate_again_and_again_cannot_connect_for_a_while() {
    let rates = rates(&[(Scope::Address, Quantity::FailedAuths, "1/min burst 2")]);
    let guesser = address("1.2.3.4");
    for _ in 0..3 {
        rates.connect(guesser).unwrap();
        rates.failed_auth(guesser);
    }
    let limited = rates.connect(guesser).unwrap_err();
    assert_eq!(limited.retry_after, Duration::from_mins(1));
    rates.connect(address("1.2.3.5")).unwrap();
    advance(Duration::from_secs(61)).await;
    rates.connect(guesser).unwrap();
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted_while_they_are_open() {
    let rates = rates(&[]);
    let enter = |user| rates.enter(address("1.2.3.4"), user, 1);
    let first = enter(Some("ada")).unwrap();
    assert_eq!(enter(Some("ada")).unwrap_err(), Scope::User);
    let second = enter(Some("bob")).unwrap();
    assert_eq!(enter(None).unwrap_err(), Scope::Address);
    drop(first);
    let third = enter(Some("ada")).unwrap();
    drop((second, third));
    assert!(rates.open.enter(0, None).is_ok());
}

#[tokio::test(start_paused = true)]
async fn clients_of_the_same_host_are_exempt() {
    let rates = rates(&[(Scope::Address, Quantity::Connects, "1/h")]);
    for _ in 0..3 {
        rates.connect(address("127.0.0.1")).unwrap();
        rates.connect(address("::1")).unwrap();
        assert!(rates.enter(address("::ffff:127.0.0.1"), None, 1).unwrap().is_none());
    }
}
