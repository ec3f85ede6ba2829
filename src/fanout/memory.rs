//! An in-memory transport for tests: several instances in one process, with losses, delays, copies and dead peers.
//!
//! Messages pass through the same codec, inbox and pending requests as with Redis.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, time::sleep};

use super::{
    codec::{self, PeerMessage},
    inbox::Inbox,
    message::FanoutEvent,
    participant::{Participant, Published},
};
use crate::domain::IncarnationId;

/// Room for received events; more than a test sends.
const EVENTS: usize = 64;

/// The kind of a message, by which a rule decides its [`Fate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    Request,
    Answer,
    Notice,
}

/// What the network does with a message: it delivers one copy after each of these delays. Without any the message is
/// lost.
pub(crate) type Fate = Vec<Duration>;

/// The fate of a message that arrives once, without a delay.
pub(crate) fn delivered() -> Fate {
    vec![Duration::ZERO]
}

/// The fate of a message that is lost without an error for its sender.
pub(crate) fn lost() -> Fate {
    Vec::new()
}

type Rule = Box<dyn FnMut(Traffic) -> Fate + Send>;

/// Connects the instances of one test.
#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Mutex<NetworkState>>);

#[derive(Default)]
struct NetworkState {
    subscribers: HashMap<IncarnationId, mpsc::UnboundedSender<String>>,
    dead: HashSet<IncarnationId>,
    rule: Option<Rule>,
    answers_are_unreadable: bool,
}

impl Network {
    /// Has `rule` decide the fate of every message that is published from now on.
    pub(crate) fn set_rule(&self, rule: impl FnMut(Traffic) -> Fate + Send + 'static) {
        self.lock().rule = Some(Box::new(rule));
    }

    /// Has every answer arrive with a type that no instance knows, as from a later version.
    pub(crate) fn make_answers_unreadable(&self) {
        self.lock().answers_are_unreadable = true;
    }

    /// Ends an instance: it sends and receives nothing any more, and messages to it fail because it does not listen.
    pub(crate) fn kill(&self, incarnation: IncarnationId) {
        let mut state = self.lock();
        state.subscribers.remove(&incarnation);
        state.dead.insert(incarnation);
    }

    fn publish(&self, from: IncarnationId, to: IncarnationId, message: &str) -> Published {
        let mut state = self.lock();
        if state.dead.contains(&from) {
            return Published::NotSent;
        }
        let Some(subscriber) = state.subscribers.get(&to).cloned() else {
            return Published::NotListening;
        };
        let traffic = traffic(message);
        let message = if traffic == Traffic::Answer && state.answers_are_unreadable {
            message.replace(r#""type":""#, r#""type":"later-"#)
        } else {
            message.to_owned()
        };
        let rule = state.rule.as_mut();
        for delay in rule.map_or_else(delivered, |rule| rule(traffic)) {
            let (subscriber, message) = (subscriber.clone(), message.clone());
            if delay.is_zero() {
                let _ended = subscriber.send(message);
                continue;
            }
            tokio::spawn(async move {
                sleep(delay).await;
                let _ended = subscriber.send(message);
            });
        }
        Published::Sent
    }

    fn lock(&self) -> MutexGuard<'_, NetworkState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn traffic(message: &str) -> Traffic {
    match codec::decode(message.as_bytes()).map(|decoded| decoded.message) {
        Ok(PeerMessage::Request { .. }) => Traffic::Request,
        Ok(PeerMessage::Answer { .. }) => Traffic::Answer,
        Ok(PeerMessage::Notice(_)) => Traffic::Notice,
        other => panic!("not a message for another instance: {other:?}"),
    }
}

/// The in-memory transport of one fan-out.
pub(super) struct MemoryTransport {
    network: Network,
    participant: Arc<Participant>,
    events: mpsc::Sender<FanoutEvent>,
    closed: Mutex<bool>,
}

impl MemoryTransport {
    /// A new instance on the network, which listens from [`MemoryTransport::listen_as`] on.
    pub(super) fn join(
        network: &Network,
        participant: Arc<Participant>,
    ) -> (Self, mpsc::Receiver<FanoutEvent>) {
        let (events, received) = mpsc::channel(EVENTS);
        let transport = Self {
            network: network.clone(),
            participant,
            events,
            closed: Mutex::new(false),
        };
        (transport, received)
    }

    pub(super) fn listen_as(&self, incarnation: IncarnationId) {
        let (subscriber, mut messages) = mpsc::unbounded_channel::<String>();
        let (unsupported, _refusals) = mpsc::channel(1);
        let participant = Arc::clone(&self.participant);
        let mut inbox = Inbox::new(participant, self.events.clone(), unsupported);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = messages.recv() => match message {
                        Some(message) => {
                            inbox.receive(incarnation, message.as_bytes());
                        }
                        None => return,
                    },
                    () = inbox.report_missed() => {}
                }
            }
        });
        // This drops the sender of an earlier subscription of the same incarnation, whose reader ends by that.
        let mut network = self.network.lock();
        network.subscribers.insert(incarnation, subscriber);
    }

    pub(super) fn is_up(&self) -> bool {
        !*self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, to: IncarnationId, message: &str) -> Published {
        if self.is_up() {
            let from = *self.participant.incarnation.borrow();
            self.network.publish(from, to, message)
        } else {
            Published::NotSent
        }
    }

    pub(super) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.network.kill(*self.participant.incarnation.borrow());
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryTransport")
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{
        domain::{Action, Broadcast},
        fanout::{Fanout, FanoutState, PeerAnswer, PeerRequest, RequestError},
    };

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn broadcast() -> PeerRequest {
        PeerRequest::Broadcast {
            action: Action::Run,
            timeout: TIMEOUT,
        }
    }

    /// An instance that sends requests, and the id of one that answers every request.
    async fn pair(network: &Network) -> (Fanout, IncarnationId) {
        let (requester, _events) = Fanout::join(network);
        requester.listen_as(IncarnationId::random()).await;
        let (answerer, mut events) = Fanout::join(network);
        let id = IncarnationId::random();
        answerer.listen_as(id).await;
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let FanoutEvent::Request(reply_to, _) = event {
                    let counts = PeerAnswer::Broadcast(Broadcast::default());
                    answerer.answer(&reply_to, &counts).await.unwrap();
                }
            }
        });
        (requester, id)
    }

    async fn request(requester: &Fanout, to: IncarnationId) -> Result<PeerAnswer, RequestError> {
        let deadline = Instant::now() + TIMEOUT;
        requester.request(to, &broadcast(), deadline).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_answered_after_the_delays_of_the_network() {
        let network = Network::default();
        let (requester, answerer) = pair(&network).await;
        network.set_rule(|_| vec![Duration::from_secs(2)]);
        let started = Instant::now();
        request(&requester, answerer).await.unwrap();
        assert_eq!(started.elapsed().as_secs(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_is_no_answer_at_the_deadline() {
        let network = Network::default();
        let (requester, answerer) = pair(&network).await;
        network.set_rule(|traffic| match traffic {
            Traffic::Answer => lost(),
            _ => delivered(),
        });
        let started = Instant::now();
        let answer = request(&requester, answerer).await;
        assert_eq!(answer, Err(RequestError::NoAnswer));
        assert_eq!(started.elapsed().as_secs(), TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_cannot_be_read_is_told_from_a_refusal() {
        let network = Network::default();
        let (requester, answerer) = pair(&network).await;
        network.make_answers_unreadable();
        let started = Instant::now();
        let answer = request(&requester, answerer).await;
        assert_eq!(answer, Err(RequestError::UnreadableAnswer));
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_copy_of_an_answer_is_ignored() {
        let network = Network::default();
        let (requester, answerer) = pair(&network).await;
        network.set_rule(|_| vec![Duration::ZERO, Duration::ZERO]);
        for _ in 0..3 {
            request(&requester, answerer).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_peer_does_not_listen_and_a_closed_fanout_is_unavailable() {
        let network = Network::default();
        let (requester, answerer) = pair(&network).await;
        network.kill(answerer);
        let answer = request(&requester, answerer).await;
        assert_eq!(answer, Err(RequestError::NotListening));
        requester.close().await;
        let answer = request(&requester, answerer).await;
        assert_eq!(answer, Err(RequestError::Unavailable));
        assert_eq!(requester.state(), FanoutState::Down);
    }
}
