//! One device connection: bytes in, sentences through [`Talk`], replies out in order, and every
//! deadline that a peer can run into.
//!
//! Written as one poll function over one struct, because an idle connection is what the gateway has
//! most of: nothing is held but this struct, one timer and two small buffers. A `PING.` costs a read,
//! a write and no timer operation; a report costs one allocation for its ticket besides.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    DeviceOptions,
    budget::Share,
    talk::{LogIn, Record, Step, Talk},
};
use crate::{
    domain::{DeviceId, DisconnectReason, GatewaySentence},
    protocol::{BadInput, Decoded, Decoder, Dialect, Message, encode, encode_connected},
    registry::{Mailbox, Session},
    service::{LoginError, Service},
    store::{Login, StoreError, Ticket, Written},
};

/// What one read takes at most; on the stack, so that it costs an idle connection nothing.
const READ_SIZE: usize = 16 << 10;
/// Replies of a text device that are ready go out in one write up to this size.
const WRITE_SIZE: usize = 1 << 10;
/// Capacity an empty outgoing buffer may keep.
const KEPT_CAPACITY: usize = 256;
/// Without bytes for this long, garbage of a text device is over.
const QUIET: Duration = Duration::from_millis(200);
/// Some devices die on two objects in one read: a command keeps this distance to what was written
/// before it.
const COMMAND_GAP: Duration = Duration::from_millis(20);
/// How long a device that was told goodbye may take to answer.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);
/// What the store is given beyond its own time-out before a connection stops waiting for it.
const STORE_SLACK: Duration = Duration::from_secs(1);

/// A place in the queue of what is to be written.
#[derive(Debug)]
enum Reply {
    Connected,
    Say(GatewaySentence),
    /// Say it once the write is committed.
    WhenStored {
        ticket: Ticket<Written>,
        say: Option<GatewaySentence>,
        since: Instant,
    },
    Close(DisconnectReason),
}

#[derive(Debug)]
struct PendingLogin {
    ticket: Ticket<Login>,
    device_id: DeviceId,
    then: Option<Message>,
    since: Instant,
}

/// What happens when the timer fires.
#[derive(Debug, Clone, Copy)]
enum Due {
    Greet,
    EndOfGarbage,
    Command,
    Close(DisconnectReason),
}

/// Ends the connection, for this reason.
type Ended = DisconnectReason;

/// Talks to the device on `stream` until one side has had enough, then cleans up.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    remote: SocketAddr,
    service: Arc<Service>,
    options: Arc<DeviceOptions>,
    mailbox: Arc<Mailbox>,
) {
    let mut connection = Connection::new(stream, remote, service, options, mailbox);
    let reason = poll_fn(|context| connection.poll(context)).await;
    connection.close(reason).await;
}

struct Connection<S> {
    stream: S,
    remote: SocketAddr,
    service: Arc<Service>,
    options: Arc<DeviceOptions>,
    mailbox: Arc<Mailbox>,
    decoder: Decoder,
    talk: Talk,
    session: Option<Arc<Session>>,
    login: Option<PendingLogin>,
    replies: VecDeque<Reply>,
    out: BytesMut,
    share: Share,
    /// Bytes of a blob that waits for room in the store's queue.
    waiting_blob: usize,
    timer: Pin<Box<Sleep>>,
    opened: Instant,
    last_understood: Instant,
    last_read: Instant,
    last_write: Option<Instant>,
    /// Since when the device has not taken what is in `out`.
    write_stalled: Option<Instant>,
    /// Since when reading waits for room for more of a blob.
    short_of_room: Option<Instant>,
    /// The `connected` object was sent, or it is settled that it will not be.
    greeted: bool,
    end_of_input: bool,
    /// A [`Reply::Close`] is queued: nothing more is read or handled.
    parting: bool,
    /// The gateway said goodbye for this reason and waits for the answer.
    goodbye: Option<(DisconnectReason, Instant)>,
    said_what_was_bad: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(
        stream: S,
        remote: SocketAddr,
        service: Arc<Service>,
        options: Arc<DeviceOptions>,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            remote,
            service,
            mailbox,
            decoder: Decoder::new(options.limits),
            talk: Talk::new(options.max_bad_sentences),
            session: None,
            login: None,
            replies: VecDeque::new(),
            out: BytesMut::new(),
            share: options.budget.share(),
            waiting_blob: 0,
            timer: Box::pin(sleep_until(now + options.greeting_delay)),
            options,
            opened: now,
            last_understood: now,
            last_read: now,
            last_write: None,
            write_stalled: None,
            short_of_room: None,
            greeted: false,
            end_of_input: false,
            parting: false,
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
        let wrote = self.write(context)?;
        let handled = self.handle();
        let read = self.read(context)?;
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
        self.login.is_none() && self.replies.is_empty() && self.out.is_empty()
    }

    /// Does what the rest of the gateway asks for.
    fn obey(&mut self, context: &Context<'_>) -> Result<bool, Ended> {
        if self.goodbye.is_some() {
            return Ok(false);
        }
        let Poll::Ready(reason) = self.mailbox.poll_close(context) else {
            return Ok(false);
        };
        // Only a vehicle that is logged in is owed a word; the rest is closed without.
        if reason != DisconnectReason::Shutdown || self.session.is_none() {
            return Err(reason);
        }
        self.goodbye = Some((reason, Instant::now()));
        self.replies.push_back(Reply::Say(GatewaySentence::Goodbye));
        Ok(true)
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
        let session = self
            .service
            .finish_login(device_id.clone(), stored, mailbox)
            .map_err(|error| self.login_failed(&device_id, &error))?;
        tracing::info!(device_id = %device_id, epoch = session.key.epoch, remote = %self.remote, "vehicle connected");
        self.session = Some(session);
        self.talk.logged_in(device_id);
        self.last_understood = Instant::now();
        match then {
            None => self
                .replies
                .push_back(Reply::Say(GatewaySentence::Greeting)),
            Some(message) => {
                let step = self.talk.on_message(message);
                self.take(step);
            }
        }
        Ok(true)
    }

    fn login_failed(&self, device_id: &DeviceId, error: &LoginError) -> Ended {
        match error {
            LoginError::Overtaken(overtaken) => overtaken.0,
            LoginError::Store(error) => {
                tracing::warn!(%device_id, %error, "a login could not be stored");
                DisconnectReason::StoreUnavailable
            }
        }
    }

    /// Writes what is ready to be written, in order.
    fn write(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        let mut progress = false;
        loop {
            if self.out.is_empty() && !self.fill(context)? {
                return Ok(progress);
            }
            progress = true;
            match Pin::new(&mut self.stream).poll_write(context, &self.out) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.write_stalled = None;
                    self.out.advance(written);
                    if self.out.is_empty() {
                        self.last_write = Some(Instant::now());
                        if self.out.capacity() > KEPT_CAPACITY {
                            self.out = BytesMut::new();
                        }
                    }
                }
                Poll::Ready(_) => return Err(DisconnectReason::ConnectionLost),
                Poll::Pending => {
                    let stalled = self.write_stalled.is_some();
                    self.write_stalled.get_or_insert_with(Instant::now);
                    return Ok(!stalled);
                }
            }
        }
    }

    /// Puts the next replies into the empty `out`: one object of a JSON device (each is to be a write
    /// of its own), or what is ready of a text device. `false` if nothing is ready.
    fn fill(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        let dialect = self.decoder.dialect().unwrap_or(Dialect::Text);
        while self.out.is_empty() || (dialect == Dialect::Text && self.out.len() < WRITE_SIZE) {
            let Some(reply) = self.replies.front_mut() else {
                break;
            };
            let say = match reply {
                Reply::Connected => {
                    encode_connected(&self.service.instance().id, &mut self.out);
                    None
                }
                Reply::Say(sentence) => {
                    if sentence.is_command()
                        && (!self.out.is_empty() || command_due(self.last_write).is_some())
                    {
                        break;
                    }
                    Some(*sentence)
                }
                Reply::WhenStored { ticket, say, .. } => {
                    let Poll::Ready(outcome) = Pin::new(ticket).poll(context) else {
                        break;
                    };
                    self.waiting_blob = 0;
                    match outcome {
                        Ok(Written::Stored) => *say,
                        Ok(Written::Stale) => return Err(DisconnectReason::Superseded),
                        Err(StoreError::Unavailable | StoreError::Closed) => {
                            return Err(DisconnectReason::StoreUnavailable);
                        }
                        // Logged by the store. Not thanked, since it is not stored.
                        Err(_) => Some(GatewaySentence::Bad),
                    }
                }
                Reply::Close(reason) => {
                    if self.out.is_empty() {
                        return Err(*reason);
                    }
                    break;
                }
            };
            self.replies.pop_front();
            if let Some(sentence) = say {
                encode(
                    sentence,
                    dialect,
                    &self.service.instance().id,
                    &mut self.out,
                );
            }
        }
        if self.replies.is_empty() && self.replies.capacity() > 8 {
            self.replies = VecDeque::new();
        }
        Ok(!self.out.is_empty())
    }

    /// Whether another sentence may be handled: the queue of replies is bounded, a login must be
    /// stored first, and what comes after a write must queue behind it.
    fn may_handle(&self) -> bool {
        self.login.is_none()
            && !self.parting
            && self.replies.len() < self.options.pipeline
            && !matches!(self.replies.back(), Some(Reply::WhenStored { ticket, .. }) if !ticket.is_queued())
    }

    /// Handles the complete sentences that were read.
    fn handle(&mut self) -> bool {
        let mut progress = false;
        while self.may_handle() {
            let step = match self.decoder.next() {
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
            self.greet_by_dialect();
            self.take(step);
        }
        progress
    }

    /// A JSON device is greeted before its first answer; a text device that spoke first is not.
    fn greet_by_dialect(&mut self) {
        if !self.greeted && self.decoder.dialect().is_some() {
            self.greeted = true;
            if self.decoder.dialect() == Some(Dialect::Json) {
                self.replies.push_back(Reply::Connected);
            }
        }
    }

    fn log_bad(&mut self, bad: &BadInput) {
        let device_id = self
            .session
            .as_ref()
            .map(|session| session.key.device_id.as_str());
        let excerpt = bad.excerpt.escape_ascii();
        if self.said_what_was_bad {
            tracing::debug!(device_id, remote = %self.remote, reason = %bad.reason, %excerpt, "not understood");
        } else {
            self.said_what_was_bad = true;
            tracing::info!(device_id, remote = %self.remote, reason = %bad.reason, %excerpt, "not understood; more of this connection at debug");
        }
    }

    /// Does what a sentence calls for.
    fn take(&mut self, step: Step) {
        let bad = matches!(
            step,
            Step::Say(GatewaySentence::Bad | GatewaySentence::DontKnowYou)
                | Step::Part(GatewaySentence::Bad | GatewaySentence::DontKnowYou, _)
        );
        if !bad {
            self.last_understood = Instant::now();
        }
        match step {
            Step::Ignore => self.ignored(),
            Step::Say(sentence) => self.replies.push_back(Reply::Say(sentence)),
            Step::Part(sentence, reason) => {
                self.replies.push_back(Reply::Say(sentence));
                self.replies.push_back(Reply::Close(reason));
                self.parting = true;
            }
            Step::Heartbeat(sentence) => {
                if let Some(session) = &self.session {
                    self.service.heartbeat(session);
                }
                self.replies.push_back(Reply::Say(sentence));
            }
            Step::LogIn(log_in) => {
                let LogIn { device_id, then } = *log_in;
                let ticket = self.service.begin_login(device_id.clone(), self.remote);
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

    fn ignored(&mut self) {
        match self.goodbye {
            Some((reason, _)) => {
                self.replies.push_back(Reply::Close(reason));
                self.parting = true;
            }
            None => tracing::debug!(remote = %self.remote, "an answer to nothing that was asked"),
        }
    }

    fn store(&mut self, record: Record, say: Option<GatewaySentence>) {
        let Some(session) = &self.session else {
            return;
        };
        let mut blob_size = 0;
        let ticket = match record {
            Record::Report(state) => self.service.report(session, state),
            Record::DebugBlob(content) => {
                blob_size = content.len();
                self.service.debug_blob(session, content)
            }
            Record::KeepMePosted(interval) => self.service.acknowledge_interval(session, interval),
        };
        if !ticket.is_queued() {
            self.waiting_blob = blob_size;
        }
        self.replies.push_back(Reply::WhenStored {
            ticket,
            say,
            since: Instant::now(),
        });
    }

    /// Reads once, if there is room for what may come and someone to handle it.
    fn read(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        if self.end_of_input || !self.may_handle() || !self.has_room(context) {
            return Ok(false);
        }
        let mut memory = [const { MaybeUninit::<u8>::uninit() }; READ_SIZE];
        let mut buffer = ReadBuf::uninit(&mut memory);
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

    /// Whether this connection's share of the memory for large input covers what it holds.
    fn has_room(&mut self, context: &mut Context<'_>) -> bool {
        let held = self.decoder.buffered() + self.waiting_blob;
        if self.share.poll_cover(context, held).is_ready() {
            self.short_of_room = None;
            true
        } else {
            self.short_of_room.get_or_insert_with(Instant::now);
            false
        }
    }

    /// What is due next, and when.
    fn next_due(&self) -> (Instant, Due) {
        let options = &self.options;
        let mut next = match (&self.login, &self.session) {
            (Some(login), _) => (
                login.since + options.commit_timeout + STORE_SLACK,
                Due::Close(DisconnectReason::StoreUnavailable),
            ),
            (None, None) => (
                self.opened + options.login_timeout,
                Due::Close(DisconnectReason::LoginTimeout),
            ),
            (None, Some(_)) => (
                self.last_understood + options.silence_timeout,
                Due::Close(DisconnectReason::Silent),
            ),
        };
        let mut also = |at: Instant, due: Due| {
            if at < next.0 {
                next = (at, due);
            }
        };
        if !self.greeted {
            also(self.opened + options.greeting_delay, Due::Greet);
        }
        if self.decoder.is_skipping() {
            also(self.last_read + QUIET, Due::EndOfGarbage);
        }
        if let Some(stalled) = self.write_stalled {
            also(
                stalled + options.write_timeout,
                Due::Close(DisconnectReason::SlowReader),
            );
        }
        if let Some(short) = self.short_of_room {
            also(
                short + options.write_timeout,
                Due::Close(DisconnectReason::OverCapacity),
            );
        }
        match self.replies.front() {
            Some(Reply::WhenStored { since, .. }) => also(
                *since + options.commit_timeout + STORE_SLACK,
                Due::Close(DisconnectReason::StoreUnavailable),
            ),
            Some(Reply::Say(sentence)) if sentence.is_command() => {
                if let Some(at) = command_due(self.last_write) {
                    also(at, Due::Command);
                }
            }
            _ => {}
        }
        if let Some((reason, since)) = self.goodbye {
            also(since + GOODBYE_TIMEOUT, Due::Close(reason));
        }
        next
    }

    /// Does what is due; otherwise sees to it that this is polled in time. The timer is only ever
    /// moved forward: it may fire early and find nothing due, but a sentence never costs a reset.
    fn watch_the_clock(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        let (at, due) = self.next_due();
        if at <= Instant::now() {
            match due {
                Due::Greet => {
                    self.greeted = true;
                    self.replies.push_back(Reply::Connected);
                }
                Due::EndOfGarbage => self.decoder.quiet(),
                Due::Command => {}
                Due::Close(reason) => return Err(reason),
            }
            return Ok(true);
        }
        if at < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(at);
        }
        Ok(self.timer.as_mut().poll(context).is_ready())
    }

    /// Removes the session here, shuts the socket, then stores the end of the session.
    async fn close(&mut self, reason: DisconnectReason) {
        let login = self.login.take();
        if let Some(session) = &self.session {
            self.service.leave(session);
        }
        self.shut(reason).await;
        // A login that is still on its way may yet be stored; then it is ended right after.
        if let Some(PendingLogin {
            ticket, device_id, ..
        }) = login
        {
            let stored = ticket.await;
            let mailbox = Arc::clone(&self.mailbox);
            self.session = self.service.finish_login(device_id, stored, mailbox).ok();
        }
        match self.session.take() {
            Some(session) => {
                tracing::info!(device_id = %session.key.device_id, epoch = session.key.epoch, remote = %self.remote, %reason, "vehicle disconnected");
                self.service.end(&session, reason).await;
            }
            None => tracing::debug!(remote = %self.remote, %reason, "connection closed"),
        }
    }

    /// Ends the connection. After words, what the device is still sending is read and dropped for a
    /// moment: closing over unread bytes resets the connection, and the last words might be lost.
    async fn shut(&mut self, reason: DisconnectReason) {
        const LINGER: Duration = Duration::from_secs(1);
        let words = matches!(
            reason,
            DisconnectReason::Goodbye
                | DisconnectReason::ConnectionClosed
                | DisconnectReason::TooManyBadSentences
                | DisconnectReason::TooLarge
                | DisconnectReason::Shutdown
        );
        let stream = &mut self.stream;
        let until_closed = async {
            let mut pinned = Pin::new(stream);
            if poll_fn(|context| pinned.as_mut().poll_shutdown(context))
                .await
                .is_err()
                || !words
            {
                return;
            }
            poll_fn(|context| {
                loop {
                    let mut memory = [const { MaybeUninit::<u8>::uninit() }; READ_SIZE];
                    let mut buffer = ReadBuf::uninit(&mut memory);
                    let read = ready!(pinned.as_mut().poll_read(context, &mut buffer));
                    if read.is_err() || buffer.filled().is_empty() {
                        return Poll::Ready(());
                    }
                }
            })
            .await;
        };
        if tokio::time::timeout(LINGER, until_closed).await.is_err() {
            tracing::trace!(remote = %self.remote, "the device did not close its side");
        }
    }
}

/// When a command may be written, if not now.
fn command_due(last_write: Option<Instant>) -> Option<Instant> {
    last_write
        .map(|at| at + COMMAND_GAP)
        .filter(|due| *due > Instant::now())
}
