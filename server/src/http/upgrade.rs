//! What a request has led to: an answer, or a socket that goes to the reactors.

use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::HandOver;
use super::handshake::Handshake;
use crate::auth::{Admitted, Refusal};
use crate::rates;
use crate::socket::{Accepted, ConnectionPermit};
use crate::tls::Session;

/// What is left to do when the answer to a handshake is sent.
pub(super) struct Upgrade {
    pub(super) handshake: Handshake,
    /// What the client's token lets it do.
    pub(super) admitted: Result<Option<Admitted>, Refusal>,
    pub(super) client: Option<rates::Client>,
    pub(super) slot: ConnectionPermit,
}

/// What a connection has asked for.
#[derive(Default)]
pub(super) enum Asked {
    /// Its request is not there, or was refused by hyper.
    #[default]
    Nothing,
    /// Something that the routes answer.
    Answer,
    /// What the handshake's route has granted.
    Upgrade(Upgrade),
}

/// Where the handshake's route leaves the upgrade for its connection.
#[derive(Clone, Default)]
pub(super) struct Pending(Arc<Mutex<Asked>>);

impl Pending {
    pub(super) fn put(&self, asked: Asked) {
        *self.0.lock() = asked;
    }

    pub(super) fn take(&self) -> Asked {
        std::mem::take(&mut self.0.lock())
    }
}

impl Upgrade {
    /// Hands the socket over, with what is yet to be answered to the handshake and what came after it.
    pub(super) fn finish(
        self,
        stream: TcpStream,
        tls: Option<Box<Session>>,
        answer: Bytes,
        read: Bytes,
        hand_over: &HandOver,
    ) {
        let Self { handshake, admitted, client, slot } = self;
        let Handshake { format, echoes, session, .. } = handshake;
        hand_over(Accepted {
            stream,
            tls,
            answer,
            read,
            format,
            echoes,
            session,
            admitted,
            client,
            slot,
        });
    }
}
