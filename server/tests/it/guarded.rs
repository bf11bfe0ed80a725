//! A server that asks for tokens, and clients with tokens.

use std::net::SocketAddr;
use std::time::Duration;

use dormouse::auth::{Auth, NewToken, create_own_key};
use dormouse::config::Config;
use dormouse_protocol::{Encoding, ErrorCode, ServerMessage, Start};

use crate::client::{Client, Closed};
use crate::server::TestServer;
use crate::support::now_seconds;

/// How the server closes a connection without a valid token.
pub(crate) const UNAUTHORIZED: Closed = Closed(Some(3501));

/// A server with a key of its own, and the tokens that it accepts.
pub(crate) struct Guarded {
    pub(crate) server: TestServer,
    issuer: Auth,
}

impl Guarded {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let server = TestServer::start(|config| {
            config.auth.leeway = Duration::ZERO;
            create_own_key(&config.data).unwrap();
            change(config);
        })
        .await;
        let issuer = Auth::start(server.config.auth.settings(&server.config.data)).unwrap();
        Self { server, issuer }
    }

    /// A token that is issued now and lasts for so many seconds, less a part of the first one.
    pub(crate) fn token(&self, user: &str, grants: &[&str], lasts: u64) -> String {
        self.token_issued_at(now_seconds(), user, grants, lasts)
    }

    pub(crate) fn token_issued_at(
        &self,
        now: u64,
        user: &str,
        grants: &[&str],
        lasts: u64,
    ) -> String {
        let grants = grants.iter().map(|grant| grant.parse().unwrap()).collect();
        let wanted = NewToken { user: user.into(), grants, expires: now + lasts, key: None };
        self.issuer.create(&wanted, now).unwrap()
    }

    pub(crate) async fn client(&self, user: &str, grants: &[&str]) -> Client {
        let token = self.token(user, grants, 3600);
        connect(self.server.address, Encoding::Json, &token).await.expect("the token is good")
    }
}

pub(crate) async fn connect(
    address: SocketAddr,
    encoding: Encoding,
    token: &str,
) -> Result<Client, Closed> {
    let bearer = format!("Bearer {token}").parse().unwrap();
    Client::try_connect_with(address, encoding, None, |headers| {
        headers.insert("Authorization", bearer);
    })
    .await
}

pub(crate) async fn may_join(client: &mut Client, object: &str) -> bool {
    let id = client.send_join(object, Start::Now).await;
    match client.reply(id).await {
        ServerMessage::Joined(_) => true,
        ServerMessage::Error(error) => {
            assert_eq!(error.code, ErrorCode::Forbidden, "{error:?}");
            false
        }
        other => panic!("{other:?}"),
    }
}
