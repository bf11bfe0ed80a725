//! Promise 8, presence tells the truth: whatever members do in whatever order, over restarts too, all who watch end with who is
//! here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dormouse_protocol::{Encoding, Join, Payload, PresenceGet, Watch};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::checked_client::{CheckedClient, all, enter, nobody_woke, present, says};
use crate::client::ENCODINGS;
use crate::server::TestServer;
use crate::support::PATIENCE;

const OBJECT: &str = "room/a";

/// One tab of somebody, over its connections.
struct Tab {
    token: String,
    client: Option<CheckedClient>,
    /// Whether the connection has joined.
    joined: bool,
    /// Its place in the roster, with its connection or lost.
    place: Option<(u64, String)>,
}

/// What is done, by chance from a seed.
struct Play {
    random: StdRng,
    object: u64,
    /// How much was said: everything that is said is new.
    spoken: u32,
}

impl Play {
    fn name(&mut self) -> String {
        self.spoken += 1;
        self.spoken.to_string()
    }

    /// Something that the tab can do now.
    async fn act(&mut self, server: &TestServer, tab: &mut Tab) {
        let object = self.object;
        let encoding = ENCODINGS[self.random.random_range(0..2)];
        let again = CheckedClient::again(server.address, encoding, &tab.token);
        let Some(mut client) = tab.client.take() else {
            let client = tab.client.insert(again.await);
            tab.joined = self.random.random_ratio(5, 6) || tab.place.is_some();
            if tab.joined {
                let said = tab.place.as_ref().map(|(_, name)| name.clone());
                let name = said.filter(|_| self.random.random()).unwrap_or_else(|| self.name());
                let member = tab.place.as_ref().map(|(member, _)| *member);
                let joined = client.join(Join { member, ..present(OBJECT, &name) }).await;
                assert!(member.is_none_or(|member| member == joined.member), "{joined:?}");
                tab.place = Some((joined.member, name));
            }
            return;
        };
        match self.random.random_range(0..8) {
            // The connection breaks: at once, or while the next one is there already.
            0 => drop(client),
            1 => {
                if let Some((member, name)) = &tab.place {
                    let mut next = again.await;
                    let join = Join { member: Some(*member), ..present(OBJECT, name) };
                    assert_eq!(next.join(join).await.member, *member);
                    let _ = std::mem::replace(&mut client, next);
                }
                tab.client = Some(client);
            }
            2 => {
                client.close(&1000_u16.to_be_bytes()).await;
                (tab.place, tab.joined) = (None, false);
            }
            3 if tab.joined => {
                client.leave(object).await;
                (tab.place, tab.joined) = (None, false);
                tab.client = Some(client);
            }
            4 if tab.joined => {
                client.set(object, None).await;
                tab.place = None;
                tab.client = Some(client);
            }
            _ if tab.joined => {
                let name = self.name();
                client.set(object, Some(&name)).await;
                if let Some(place) = &mut tab.place {
                    place.1 = name;
                } else {
                    // It comes back under the number of its membership; which this test learns like any other.
                    tab.place = Some((self.number_of(&mut client, &name).await, name));
                }
                tab.client = Some(client);
            }
            _ => tab.client = Some(client),
        }
    }

    /// The number of who says this, when everybody was told.
    async fn number_of(&self, client: &mut CheckedClient, name: &str) -> u64 {
        let since = Instant::now();
        loop {
            let roster = client.get(all(self.object)).await;
            let found = roster.present.iter().find(|present| present.data == says(name));
            if let Some(present) = found {
                return present.member;
            }
            assert!(since.elapsed() < PATIENCE, "{name} is not in {roster:?}");
        }
    }
}

/// A new tab takes the place of one of its session that is lost: that one has it no more, and goes.
fn dispossess(tabs: &mut [Tab], by: usize) {
    let Some((taken, _)) = tabs[by].place else { return };
    for (index, tab) in tabs.iter_mut().enumerate() {
        if index != by && tab.place.as_ref().is_some_and(|(member, _)| *member == taken) {
            (tab.client, tab.joined, tab.place) = (None, false, None);
        }
    }
}

async fn watch(server: &TestServer) -> Vec<CheckedClient> {
    let mut watchers = Vec::new();
    for encoding in ENCODINGS {
        for watch in [Watch::Roster, Watch::Count] {
            let mut client = CheckedClient::connect(server.address, encoding).await;
            client.join(enter(OBJECT, watch)).await;
            watchers.push(client);
        }
    }
    watchers
}

/// All who watch see these, those who came last too, and so does who asks.
async fn all_see(server: &TestServer, watchers: &mut [CheckedClient], object: u64, tabs: &[Tab]) {
    let mut truth: BTreeMap<u64, _> =
        tabs.iter().filter_map(|tab| tab.place.clone()).map(|(n, name)| (n, says(&name))).collect();
    // Somebody comes and goes: an older roster that happens to be the same must not be taken for the last one.
    let mut mark = CheckedClient::connect(server.address, Encoding::Json).await;
    let marked = mark.join(present(OBJECT, "mark")).await.member;
    truth.insert(marked, says("mark"));
    all_agree(watchers, object, &truth).await;
    mark.leave(object).await;
    truth.remove(&marked);
    all_agree(watchers, object, &truth).await;
}

async fn all_agree(watchers: &mut [CheckedClient], object: u64, truth: &BTreeMap<u64, Payload>) {
    let members = truth.len() as u32;
    for watcher in &mut *watchers {
        let is_true = |seen: &crate::checked_client::Sight| {
            let here = seen.present.iter().map(|(member, (_, data))| (member, data));
            // Who only counts can't tell that it is up to date: it is asked again below.
            seen.watch == Watch::Count || here.eq(truth.iter())
        };
        watcher.until(object, is_true).await;
    }
    let version = watchers[0].sight(object).version;
    for watcher in watchers {
        watcher.until(object, |seen| seen.version == version && seen.members == members).await;
        let roster = watcher.get(PresenceGet { limit: Some(500), ..all(object) }).await;
        assert_eq!((roster.version, roster.members), (version, members));
    }
}

/// Promises 8 and 6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_watch_end_with_who_is_here() {
    const TABS: usize = 8;
    const ACTS: usize = 150;
    for seed in 0..6 {
        eprintln!("seed {seed}");
        let mut server = TestServer::start(|config| {
            config.presence.interval = Duration::from_millis(10);
            config.presence.grace = Duration::from_mins(5);
        })
        .await;
        let mut play = Play { random: StdRng::seed_from_u64(seed), object: 0, spoken: 0 };
        let mut tabs = Vec::new();
        for number in 0..TABS {
            // Some are of one session.
            let client = match tabs.last() {
                Some(Tab { token, .. }) if number % 3 == 1 => {
                    CheckedClient::again(server.address, Encoding::Json, token).await
                }
                _ => CheckedClient::connect(server.address, Encoding::Msgpack).await,
            };
            let token = client.token.clone();
            tabs.push(Tab { token, client: Some(client), joined: false, place: None });
        }
        for _ in 0..2 {
            let mut watchers = watch(&server).await;
            play.object = watchers[0].objects()[0];
            for act in 0..ACTS {
                let tab = play.random.random_range(0..TABS);
                play.act(&server, &mut tabs[tab]).await;
                dispossess(&mut tabs, tab);
                if act == ACTS / 2 {
                    watchers.extend(watch(&server).await);
                }
            }
            all_see(&server, &mut watchers, play.object, &tabs).await;
            nobody_woke(&server).await;
            drop(watchers);
            for tab in &mut tabs {
                (tab.client, tab.joined) = (None, false);
            }
            server.restart().await;
        }
    }
}
