//! One device connection: polls its socket, its events, its pending writes and its deadlines until it is to be closed.
//!
//! One poll function over one struct instead of tasks and channels, because most connections are idle: such a
//! connection holds this struct, one timer and two small buffers. A `PING.` costs a read, a write and no timer
//! operation; a report costs one more allocation, for the commit that its reply waits for.

use std::{
    future::poll_fn,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep_until},
};
use tracing::field::display;

use super::{
    DeviceOptions,
    budget::Share,
    conversation::{Conversation, Reaction, Record},
    outage_log::LoginLine,
    replies::Replies,
};
use crate::{
    commands::Commands,
    domain::{Answer, DeviceId, DisconnectReason, GatewaySentence},
    protocol::{BadInput, Decoded, Decoder, DeviceMessage, Dialect},
    sessions::{ConnectionGuard, ConnectionHandle, Login, PendingWrite, Session, Sessions},
};

/// Serves the device on `stream` until the connection is to be closed, then closes it and ends the session.
///
/// The guard counts the connection among those of this instance. It is dropped as soon as the socket is closed, so that
/// a session whose end waits for the store takes no place among `device.max_connections`.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    remote: SocketAddr,
    sessions: Arc<Sessions>,
    commands: Arc<Commands>,
    options: Arc<DeviceOptions>,
    handle: Arc<ConnectionHandle>,
    guard: ConnectionGuard,
) {
    // On the heap, so that its memory is freed before the clean-up waits for the store.
    let mut connection = Box::new(DeviceConnection::new(
        stream, remote, sessions, commands, options, handle,
    ));
    // A panic ends this connection and stores the end of its session: without that the vehicle would stay online.
    let serving = AssertUnwindSafe(poll_fn(|context| connection.poll(context))).catch_unwind();
    let reason = serving.await.unwrap_or(DisconnectReason::InternalError);
    let cleanup = connection.close(reason).await;
    drop(connection);
    drop(guard);
    cleanup.run(reason).await;
}

/// The state of one connection. Its parts have their methods in files of their own: `input`, `login`, `goodbye`,
/// `timers`, `closing`.
pub(super) struct DeviceConnection<S> {
    pub(super) stream: S,
    pub(super) remote: SocketAddr,
    pub(super) sessions: Arc<Sessions>,
    pub(super) commands: Arc<Commands>,
    pub(super) options: Arc<DeviceOptions>,
    pub(super) handle: Arc<ConnectionHandle>,
    pub(super) decoder: Decoder,
    pub(super) conversation: Conversation,
    pub(super) session: Option<Arc<Session>>,
    pub(super) login: Option<PendingLogin>,
    pub(super) replies: Replies,
    pub(super) share: Share,
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) opened: Instant,
    /// When the last valid sentence or blob byte came.
    pub(super) last_valid: Instant,
    pub(super) last_read: Instant,
    /// Since when reading waits for room in the budget.
    pub(super) waiting_for_room: Option<Instant>,
    /// Whether the `connected` object was sent, or is not to be sent any more.
    pub(super) greeted: bool,
    pub(super) end_of_input: bool,
    pub(super) pending_goodbye: Option<PendingGoodbye>,
    /// Set while the connection waits for the answer to `GOTTA GO.`: the reason to close, and since when it waits.
    pub(super) goodbye: Option<(DisconnectReason, Instant)>,
    pub(super) login_line: LoginLine,
    /// Whether bad input of this connection was logged at `info`.
    logged_bad_input: bool,
}

/// A login that is being stored.
#[derive(Debug)]
pub(super) struct PendingLogin {
    pub(super) pending_write: PendingWrite<Login>,
    pub(super) device_id: DeviceId,
    /// The message to handle after the login, instead of a greeting.
    pub(super) first_message: Option<DeviceMessage>,
    pub(super) since: Instant,
}

/// A goodbye that waits for answers to pending commands.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingGoodbye {
    /// When it is sent at the latest.
    pub(super) until: Instant,
    /// When to look next whether the vehicle still owes answers.
    pub(super) next_check: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> DeviceConnection<S> {
    fn new(
        stream: S,
        remote: SocketAddr,
        sessions: Arc<Sessions>,
        commands: Arc<Commands>,
        options: Arc<DeviceOptions>,
        handle: Arc<ConnectionHandle>,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            remote,
            sessions,
            commands,
            handle,
            decoder: Decoder::new(options.limits),
            conversation: Conversation::new(options.max_bad_sentences),
            session: None,
            login: None,
            replies: Replies::default(),
            share: options.budget.share(),
            timer: Box::pin(sleep_until(now + options.greeting_delay)),
            options,
            opened: now,
            last_valid: now,
            last_read: now,
            waiting_for_room: None,
            greeted: false,
            end_of_input: false,
            pending_goodbye: None,
            goodbye: None,
            login_line: LoginLine::Own,
            logged_bad_input: false,
        }
    }

    /// Does everything that can be done now. Ready with the reason once the connection is to be closed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<DisconnectReason> {
        loop {
            match self.advance(context) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(reason) => return Poll::Ready(reason),
            }
        }
    }

    /// One round over everything that can make progress. Returns whether anything did.
    fn advance(&mut self, context: &mut Context<'_>) -> Result<bool, DisconnectReason> {
        let event = self.poll_events(context)?;
        let logged_in = self.poll_login(context)?;
        let read = self.read(context)?;
        let handled = self.handle_sentences() | self.send_pending_goodbye();
        let wrote = self.write(context)?;
        if !(event || logged_in || wrote || handled || read) {
            if self.end_of_input && self.is_quiescent() {
                return Err(self
                    .goodbye
                    .map_or(DisconnectReason::ConnectionClosed, |(reason, _)| reason));
            }
            return self.poll_timers(context);
        }
        Ok(true)
    }

    fn is_quiescent(&self) -> bool {
        self.login.is_none() && self.replies.is_empty()
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<bool, DisconnectReason> {
        let dialect = self.decoder.dialect().unwrap_or(Dialect::Text);
        let server_id = &self.sessions.incarnation();
        let session = self.session.as_deref();
        let wrote = self
            .replies
            .write(context, &mut self.stream, dialect, server_id, session)?;
        if self.replies.said_goodbye() && self.goodbye.is_none() {
            self.goodbye = Some((DisconnectReason::Operator, Instant::now()));
        }
        Ok(wrote)
    }

    /// Whether the next sentence may be handled. Not while a login is stored, not beyond the bound of the reply queue,
    /// and not while a write request waits for room in the store's queue: later ones must stay behind it.
    pub(super) fn may_handle(&self) -> bool {
        self.login.is_none()
            && self.replies.len() < self.options.pipeline
            && !self.replies.is_closing()
            && !self.replies.is_held_up()
    }

    /// Handles the complete sentences that were read. Returns whether there were any.
    fn handle_sentences(&mut self) -> bool {
        let mut progress = false;
        while self.may_handle() {
            let decoded = self.decoder.next();
            self.greet_by_dialect();
            let reaction = match decoded {
                Decoded::Incomplete => break,
                Decoded::Message(message) => self.conversation.on_message(message),
                Decoded::Bad(bad) => {
                    self.log_bad(&bad);
                    if bad.is_http_request() || bad.is_tls_handshake() {
                        self.conversation.on_foreign_protocol()
                    } else {
                        self.conversation.on_bad_input()
                    }
                }
                Decoded::TooLarge(bad) => {
                    self.log_bad(&bad);
                    Reaction::ReplyAndClose(GatewaySentence::Bad, DisconnectReason::TooLarge)
                }
            };
            progress = true;
            self.perform(reaction);
        }
        progress
    }

    /// Sends the `connected` object to a JSON device before its first reply. A text device that sent a sentence first
    /// gets none.
    fn greet_by_dialect(&mut self) {
        if !self.greeted && self.decoder.dialect().is_some() {
            self.greeted = true;
            if self.decoder.dialect() == Some(Dialect::Json) {
                self.replies.connected();
            }
        }
    }

    fn log_bad(&mut self, bad: &BadInput) {
        let session = self.session.as_ref();
        let device_id = session.map(|session| display(&session.key.device_id));
        let remote = self.remote;
        let reason = if bad.is_tls_handshake() {
            "this is TLS, which only the port of device.tls.listen speaks".to_owned()
        } else {
            bad.reason.to_string()
        };
        // Logged by its Debug format: in quotes, and with control characters escaped.
        let excerpt = String::from_utf8_lossy(&bad.excerpt);
        if self.logged_bad_input {
            tracing::debug!(device_id, %remote, reason, ?excerpt, "bad sentence");
        } else {
            self.logged_bad_input = true;
            tracing::info!(device_id, %remote, reason, ?excerpt, "bad sentence; further ones of this connection are logged at debug");
        }
    }

    pub(super) fn perform(&mut self, reaction: Reaction) {
        if !reaction.is_bad() {
            self.last_valid = Instant::now();
        }
        match reaction {
            Reaction::Answer {
                answer,
                thank_if_unsolicited,
            } => self.handle_answer(answer, thank_if_unsolicited),
            Reaction::Reply(sentence) => self.replies.say(sentence),
            Reaction::ReplyAndClose(sentence, reason) => {
                self.replies.say(sentence);
                self.replies.close(reason);
            }
            Reaction::Heartbeat(sentence) => {
                if let Some(session) = &self.session {
                    self.sessions.heartbeat(session);
                }
                self.replies.say(sentence);
            }
            Reaction::LogIn(request) => self.begin_login(*request),
            Reaction::Store(record, say) => self.store(record, say),
        }
    }

    /// Stores the answer with the command that waits for it. An unsolicited `FINE.` is a report; other unsolicited
    /// answers are ignored.
    fn handle_answer(&mut self, answer: Answer, thank_if_unsolicited: bool) {
        let Some(session) = &self.session else {
            return;
        };
        match (self.commands.answer(session, answer), answer) {
            (Some(pending_write), _) => self.replies.when_stored(pending_write, None, 0),
            (None, Answer::Fine(state)) => {
                let thanks = thank_if_unsolicited.then_some(GatewaySentence::Thanks);
                self.store(Record::Report(state), thanks);
            }
            (None, _) => {
                tracing::debug!(device_id = %session.key.device_id, %answer, "unsolicited answer ignored");
            }
        }
        if let (Answer::SeeYa, Some((reason, _))) = (answer, self.goodbye) {
            self.replies.close(reason);
        }
    }

    fn store(&mut self, record: Record, say: Option<GatewaySentence>) {
        let Some(session) = &self.session else {
            return;
        };
        let mut blob_size = 0;
        let pending_write = match record {
            Record::Report(state) => self.sessions.report(session, state),
            Record::DebugBlob(content) => {
                blob_size = content.len();
                self.sessions.debug_blob(session, content)
            }
            Record::KeepMePosted(interval) => self.sessions.acknowledge_interval(session, interval),
        };
        self.replies.when_stored(pending_write, say, blob_size);
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
