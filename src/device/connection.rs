//! One device connection: bytes in, sentences through [`Talk`], replies out in order, and every
//! deadline that a peer can run into.
//!
//! Written as one poll function over one struct, because an idle connection is what the gateway has
//! most of: nothing is held but this struct, one timer and two small buffers. A `PING.` costs a read,
//! a write and no timer operation; a report costs one allocation for its ticket besides.

use std::{
    future::{Future, poll_fn},
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tracing::field::display;

use super::{
    DeviceOptions,
    budget::{FREE, Share},
    replies::Replies,
    talk::{LogIn, Record, Step, Talk},
};
use crate::{
    commands::Commands,
    domain::{Action, Answer, DeviceId, DisconnectReason, GatewaySentence},
    protocol::{BadInput, Decoded, Decoder, Dialect, Message},
    sessions::{
        ConnectionGuard, Letter, LoggedIn, Login, LoginError, Mailbox, PendingWrite, Session,
        Sessions,
    },
};

/// What one read takes at most while a blob is received; on the stack, so that it costs an idle
/// connection nothing.
const READ_SIZE: usize = 16 << 10;
/// What one read takes at most otherwise.
const SMALL_READ_SIZE: usize = 4 << 10;

#[derive(Debug)]
pub(super) struct PendingLogin {
    pub(super) ticket: PendingWrite<Login>,
    pub(super) device_id: DeviceId,
    pub(super) then: Option<Message>,
    pub(super) since: Instant,
}

/// How often a vehicle that is to be released is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A goodbye that waits for answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Release {
    /// It is said then in any case.
    until: Instant,
    pub(super) look_again: Instant,
}

/// Ends the connection, for this reason.
pub(super) type Ended = DisconnectReason;

/// Talks to the device on `stream` until one side has had enough, then cleans up. The guard is what
/// counts the connection; it is let go as soon as the socket is closed.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    remote: SocketAddr,
    sessions: Arc<Sessions>,
    commands: Arc<Commands>,
    options: Arc<DeviceOptions>,
    mailbox: Arc<Mailbox>,
    guard: ConnectionGuard,
) {
    // On the heap, so that the clean-up does not hold on to its memory.
    let mut connection = Box::new(Connection::new(
        stream, remote, sessions, commands, options, mailbox,
    ));
    let reason = poll_fn(|context| connection.poll(context)).await;
    let rest = connection.part(reason).await;
    drop(connection);
    drop(guard);
    rest.clean_up(reason).await;
}

pub(super) struct Connection<S> {
    pub(super) stream: S,
    pub(super) remote: SocketAddr,
    pub(super) sessions: Arc<Sessions>,
    commands: Arc<Commands>,
    pub(super) options: Arc<DeviceOptions>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) decoder: Decoder,
    pub(super) talk: Talk,
    pub(super) session: Option<Arc<Session>>,
    pub(super) login: Option<PendingLogin>,
    pub(super) replies: Replies,
    pub(super) share: Share,
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) opened: Instant,
    pub(super) last_understood: Instant,
    pub(super) last_read: Instant,
    /// Since when reading waits for room for more of a blob.
    pub(super) short_of_room: Option<Instant>,
    /// The `connected` object was sent, or it is settled that it will not be.
    pub(super) greeted: bool,
    pub(super) end_of_input: bool,
    /// The gateway is about to say goodbye, and waits for answers to what the vehicle was asked.
    pub(super) releasing: Option<Release>,
    /// The gateway said goodbye for this reason and waits for the answer.
    pub(super) goodbye: Option<(DisconnectReason, Instant)>,
    pub(super) said_what_was_bad: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(
        stream: S,
        remote: SocketAddr,
        sessions: Arc<Sessions>,
        commands: Arc<Commands>,
        options: Arc<DeviceOptions>,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            remote,
            sessions,
            commands,
            mailbox,
            decoder: Decoder::new(options.limits),
            talk: Talk::new(options.max_bad_sentences),
            session: None,
            login: None,
            replies: Replies::default(),
            share: options.budget.share(),
            timer: Box::pin(sleep_until(now + options.greeting_delay)),
            options,
            opened: now,
            last_understood: now,
            last_read: now,
            short_of_room: None,
            greeted: false,
            end_of_input: false,
            releasing: None,
            goodbye: None,
            said_what_was_bad: false,
        }
    }

    /// Does whatever can be done now; ready with the reason once the connection is to be closed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        loop {
            match self.advance(context) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(reason) => return Poll::Ready(reason),
            }
        }
    }

    /// One round over everything that can make progress; `false` if nothing did.
    fn advance(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        let told = self.obey(context)?;
        let logged_in = self.await_login(context)?;
        let read = self.read(context)?;
        let handled = self.handle() | self.release();
        let wrote = self.write(context)?;
        if !(told || logged_in || wrote || handled || read) {
            if self.end_of_input && self.is_quiescent() {
                return Err(self
                    .goodbye
                    .map_or(DisconnectReason::ConnectionClosed, |(reason, _)| reason));
            }
            return self.watch_the_clock(context);
        }
        Ok(true)
    }

    fn is_quiescent(&self) -> bool {
        self.login.is_none() && self.replies.is_empty()
    }

    /// Does what the rest of the gateway asks for.
    fn obey(&mut self, context: &Context<'_>) -> Result<bool, Ended> {
        if self.replies.is_closing() {
            return Ok(false);
        }
        let reason = match self.mailbox.poll(context) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Letter::Order(order)) => {
                self.replies.command(order);
                return Ok(true);
            }
            Poll::Ready(Letter::Close(reason)) => reason,
        };
        // Only a vehicle that is logged in is owed a word; the rest is closed without.
        let Some(session) = &self.session else {
            return Err(reason);
        };
        if reason != DisconnectReason::Shutdown {
            return Err(reason);
        }
        if self.goodbye.is_some() || self.releasing.is_some() {
            return Ok(false);
        }
        session.stop_commands();
        let now = Instant::now();
        self.releasing = Some(Release {
            until: now + self.options.answer_patience,
            look_again: now,
        });
        Ok(true)
    }

    /// Says goodbye once the vehicle has answered what it was asked, or has had its time for it.
    fn release(&mut self) -> bool {
        let (Some(release), Some(session)) = (&mut self.releasing, &self.session) else {
            return false;
        };
        let now = Instant::now();
        if session.awaits_answers() && now < release.until {
            // An answer is noticed at once, and what else may end the wait soon enough.
            if release.look_again <= now {
                release.look_again = now + LOOK_AGAIN;
            }
            return false;
        }
        self.releasing = None;
        if self.goodbye.is_none() {
            self.goodbye = Some((DisconnectReason::Shutdown, now));
            self.replies.say(GatewaySentence::Command(Action::Goodbye));
        }
        true
    }

    fn await_login(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        let Some(login) = &mut self.login else {
            return Ok(false);
        };
        let Poll::Ready(stored) = Pin::new(&mut login.ticket).poll(context) else {
            return Ok(false);
        };
        let Some(PendingLogin {
            device_id, then, ..
        }) = self.login.take()
        else {
            return Ok(false);
        };
        let mailbox = Arc::clone(&self.mailbox);
        let LoggedIn { session, due } = self
            .sessions
            .finish_login(device_id.clone(), stored, mailbox)
            .map_err(|error| login_failed(&device_id, &error))?;
        tracing::info!(device_id = %device_id, epoch = session.key.epoch, remote = %self.remote, "vehicle connected");
        // Behind the greeting: what is due reaches this connection through its mailbox.
        self.commands.deliver(&session, due);
        self.session = Some(session);
        self.talk.logged_in(device_id);
        self.last_understood = Instant::now();
        match then {
            None => self.replies.say(GatewaySentence::Greeting),
            Some(message) => {
                let step = self.talk.on_message(message);
                self.take(step);
            }
        }
        Ok(true)
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
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

    /// Whether another sentence may be handled: the queue of replies is bounded, a login must be
    /// stored first, and what comes after a write must queue behind it.
    pub(super) fn may_handle(&self) -> bool {
        self.login.is_none()
            && self.replies.len() < self.options.pipeline
            && !self.replies.is_closing()
            && !self.replies.is_held_up()
    }

    /// Handles the complete sentences that were read.
    fn handle(&mut self) -> bool {
        let mut progress = false;
        while self.may_handle() {
            let decoded = self.decoder.next();
            self.greet_by_dialect();
            let step = match decoded {
                Decoded::Incomplete => break,
                Decoded::Message(message) => self.talk.on_message(message),
                Decoded::Bad(bad) => {
                    self.log_bad(&bad);
                    self.talk.on_bad()
                }
                Decoded::TooLarge(bad) => {
                    self.log_bad(&bad);
                    Step::Part(GatewaySentence::Bad, DisconnectReason::TooLarge)
                }
            };
            progress = true;
            self.take(step);
        }
        progress
    }

    /// A JSON device is greeted before its first answer; a text device that spoke first is not.
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
        let (remote, reason) = (self.remote, bad.reason.to_string());
        // In quotes, and whatever is not plain text is escaped.
        let said = String::from_utf8_lossy(&bad.excerpt);
        if self.said_what_was_bad {
            tracing::debug!(device_id, %remote, reason, ?said, "not understood");
        } else {
            self.said_what_was_bad = true;
            tracing::info!(device_id, %remote, reason, ?said, "not understood; more of this connection at debug");
        }
    }

    /// Does what a sentence calls for.
    fn take(&mut self, step: Step) {
        if !step.is_bad() {
            self.last_understood = Instant::now();
        }
        match step {
            Step::Answer {
                answer,
                thanked_if_unasked,
            } => self.credit(answer, thanked_if_unasked),
            Step::Say(sentence) => self.replies.say(sentence),
            Step::Part(sentence, reason) => {
                self.replies.say(sentence);
                self.replies.close(reason);
            }
            Step::Heartbeat(sentence) => {
                if let Some(session) = &self.session {
                    self.sessions.heartbeat(session);
                }
                self.replies.say(sentence);
            }
            Step::LogIn(log_in) => {
                let LogIn { device_id, then } = *log_in;
                let ticket = self.sessions.begin_login(device_id.clone(), self.remote);
                self.login = Some(PendingLogin {
                    ticket,
                    device_id,
                    then,
                    since: Instant::now(),
                });
            }
            Step::Store(record, say) => self.store(record, say),
        }
    }

    /// Stores an answer with the command that it answers.
    fn credit(&mut self, answer: Answer, thanked_if_unasked: bool) {
        let Some(session) = &self.session else {
            return;
        };
        match (self.commands.answer(session, answer), answer) {
            (Some(ticket), _) => self.replies.when_stored(ticket, None, 0),
            (None, Answer::Fine(state)) => {
                let thanks = thanked_if_unasked.then_some(GatewaySentence::Thanks);
                self.store(Record::Report(state), thanks);
            }
            (None, _) => {
                tracing::debug!(device_id = %session.key.device_id, %answer, "an answer to nothing that was asked");
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
        let ticket = match record {
            Record::Report(state) => self.sessions.report(session, state),
            Record::DebugBlob(content) => {
                blob_size = content.len();
                self.sessions.debug_blob(session, content)
            }
            Record::KeepMePosted(interval) => self.sessions.acknowledge_interval(session, interval),
        };
        self.replies.when_stored(ticket, say, blob_size);
    }

    /// Reads once, if there is room for what may come and someone to handle it.
    fn read(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        if self.end_of_input || !self.may_handle() || !self.has_room(context) {
            return Ok(false);
        }
        let size = if self.is_large() {
            READ_SIZE
        } else {
            SMALL_READ_SIZE
        };
        let mut memory = [const { MaybeUninit::<u8>::uninit() }; READ_SIZE];
        let mut buffer = ReadBuf::uninit(&mut memory[..size]);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(_)) => Err(DisconnectReason::ConnectionLost),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                self.end_of_input = true;
                Ok(true)
            }
            Poll::Ready(Ok(())) => {
                self.decoder.push(buffer.filled());
                self.last_read = Instant::now();
                if self.decoder.in_blob() {
                    self.last_understood = self.last_read;
                }
                Ok(true)
            }
        }
    }

    /// Whether more than a sentence is being received.
    fn is_large(&self) -> bool {
        self.decoder.in_blob() || self.decoder.buffered() > FREE - SMALL_READ_SIZE
    }

    /// Whether this connection's share of the memory for large input covers what it holds and what
    /// the next read may bring.
    fn has_room(&mut self, context: &mut Context<'_>) -> bool {
        let waiting = self.replies.waiting_blob();
        let needed = if self.is_large() || waiting > 0 {
            self.decoder.buffered() + waiting + READ_SIZE
        } else {
            0
        };
        if self.share.poll_cover(context, needed).is_ready() {
            self.short_of_room = None;
            true
        } else {
            self.short_of_room.get_or_insert_with(Instant::now);
            false
        }
    }
}

fn login_failed(device_id: &DeviceId, error: &LoginError) -> Ended {
    match error {
        LoginError::Overtaken(overtaken) => overtaken.0,
        LoginError::Store(error) => {
            tracing::warn!(%device_id, %error, "a login could not be stored");
            DisconnectReason::StoreUnavailable
        }
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
