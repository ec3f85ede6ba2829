//! What a device says and does on one connection.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout_at},
};

use crate::history::payload::{dump, values};
use crate::history::record::{Connection, Event, Marker};
use crate::history::workload::abandoned_connection::Forgotten;
use crate::history::workload::fleet::{Phase, Vehicle};
use crate::support::{AsyncDevice, GatewayMessage, hello};

/// How long a device waits for what it is owed before it connects anew.
const IMPATIENCE: Duration = Duration::from_secs(12);

/// How a conversation ended.
pub(crate) enum End {
    /// The connection is closed, or never was.
    Over,
    /// Nobody listens any more.
    Forgot(Forgotten),
    /// It was alive at the end of the run, and is open.
    Alive(TcpStream),
}

/// What the device waits for.
enum Owed {
    Thanks(Marker, &'static str),
    Noted(u32),
    Pong { last: bool },
    SeeYou,
}

/// An answer that the device is about to give.
struct Answer {
    due: Instant,
    nth: usize,
    sentence: String,
    marker: Option<Marker>,
}

struct Conversation {
    vehicle: Arc<Vehicle>,
    connection: Connection,
    line: AsyncDevice,
    rng: Rng,
    owed: VecDeque<(Owed, Instant)>,
    answers: VecDeque<Answer>,
    /// How many commands it has heard.
    heard: usize,
    /// When it does something by itself.
    next: Instant,
}

/// Whether the conversation goes on.
enum Then {
    GoOn,
    End(Event),
    Forget,
    Alive,
}

impl Vehicle {
    /// Connects, logs in, and talks until one of the two has enough.
    pub(crate) async fn converse(self: Arc<Self>, mut rng: Rng) -> End {
        let (to, is_direct) = self.places.choose(&mut rng);
        let connection = self.next_connection();
        let pretend = is_direct.then(|| made_up(self.number, connection));
        let line = AsyncDevice::connect(to, pretend, self.dialect, &self.id).await;
        let Ok(mut line) = line else {
            return End::Over;
        };
        let address = line.address.to_string();
        self.note(connection, Event::Connected { address });
        self.note(connection, Event::Hello);
        if line.say(&hello(&self.id)).await.is_err() {
            self.note(connection, Event::Closed);
            return End::Over;
        }
        if let Err(event) = greeted(&mut line, Instant::now()).await {
            self.note(connection, event);
            return End::Over;
        }
        self.note(connection, Event::Greeted);
        let conversation = Conversation {
            vehicle: Arc::clone(&self),
            connection,
            line,
            rng,
            owed: VecDeque::new(),
            answers: VecDeque::new(),
            heard: 0,
            next: Instant::now(),
        };
        conversation.run().await
    }
}

/// Gives up what is owed since this time.
fn hung(since: Instant) -> Event {
    let waited = since.elapsed().as_millis().try_into().unwrap();
    Event::Hung { waited }
}

/// An address that no other connection of a run has.
fn made_up(vehicle: usize, connection: Connection) -> SocketAddr {
    let byte = |number: usize| u8::try_from(number % 256).unwrap();
    let address = [10, byte(vehicle), byte(connection / 256), byte(connection)];
    SocketAddr::from((address, 1024))
}

/// Waits for the greeting, which is owed since this time.
async fn greeted(line: &mut AsyncDevice, since: Instant) -> Result<(), Event> {
    loop {
        match timeout_at(since + IMPATIENCE, line.hear()).await {
            Err(_elapsed) => return Err(hung(since)),
            Ok(None) => return Err(Event::Closed),
            Ok(Some(GatewayMessage::Greeting)) => {}
            Ok(Some(GatewayMessage::Reply(reply))) if reply == "HI, NICE TO MEET YOU!" => {
                return Ok(());
            }
            Ok(Some(said)) => return Err(Event::Unexpected(format!("{said:?}"))),
        }
    }
}

impl Conversation {
    async fn run(mut self) -> End {
        let mut phase = self.vehicle.phase.clone();
        phase.mark_unchanged();
        loop {
            let due = self.answers.front().map_or(self.next, |answer| answer.due);
            let then = tokio::select! {
                said = self.line.hear() => match said {
                    None => Then::End(Event::Closed),
                    Some(said) => self.hears(said),
                },
                () = sleep_until(due.min(self.next)) => self.acts().await,
                // As soon as all are to settle or to count, it looks at what is next.
                Ok(()) = phase.changed() => {
                    self.next = Instant::now();
                    Then::GoOn
                }
            };
            match then {
                Then::GoOn => {}
                Then::End(event) => {
                    self.note(event);
                    return End::Over;
                }
                Then::Forget => {
                    self.note(Event::Forgot);
                    return End::Forgot(Forgotten {
                        line: self.line,
                        connection: self.connection,
                    });
                }
                Then::Alive => {
                    self.note(Event::Alive);
                    return End::Alive(self.line.into_stream());
                }
            }
        }
    }

    fn note(&self, event: Event) {
        self.vehicle.note(self.connection, event);
    }

    fn hears(&mut self, said: GatewayMessage) -> Then {
        match said {
            GatewayMessage::Command(sentence) => {
                self.note(Event::Heard {
                    sentence: sentence.clone(),
                    late: false,
                });
                self.heard += 1;
                self.is_asked(&sentence);
                Then::GoOn
            }
            GatewayMessage::Reply(reply) => match (reply.as_str(), self.owed.pop_front()) {
                (said, Some((Owed::Thanks(marker, thanks), _))) if said == thanks => {
                    self.note(Event::Thanked(marker));
                    Then::GoOn
                }
                ("SURE, I WILL!", Some((Owed::Noted(seconds), _))) => {
                    self.note(Event::Noted(seconds));
                    Then::GoOn
                }
                ("PONG.", Some((Owed::Pong { last: true }, _))) => Then::Alive,
                // What follows a goodbye is the close.
                ("PONG.", Some((Owed::Pong { last: false }, _)))
                | ("SEE YA!", Some((Owed::SeeYou, _))) => Then::GoOn,
                _ => Then::End(Event::Unexpected(reply)),
            },
            GatewayMessage::Greeting => Then::End(Event::Unexpected("connected".to_owned())),
        }
    }

    /// Makes up its mind about a command.
    fn is_asked(&mut self, sentence: &str) {
        let may_err = self.vehicle.now_in() == Phase::Run;
        let luck = self.rng.f32();
        if may_err && luck < 0.04 {
            return;
        }
        let delay = if may_err && luck < 0.1 {
            self.rng.u64(1_000..2_500)
        } else {
            self.rng.u64(20..100)
        };
        let mut marker = None;
        let answer = match sentence {
            "HOW'S IT GOING?" => {
                let number = self.vehicle.next_marker();
                marker = Some(number);
                format!("FINE. {}", values(self.vehicle.number, number))
            }
            "GOTTA GO." => "SEE YA!".to_owned(),
            "HEY YOU, RUN!" | "HEY YOU, REST!" if self.rng.f32() < 0.15 => {
                "I CAN'T, SORRY.".to_owned()
            }
            "HEY YOU, RUN!" | "HEY YOU, REST!" => "DONE!".to_owned(),
            _ => "SURE, I WILL!".to_owned(),
        };
        // In the order in which it was asked.
        let before = self.answers.back().map(|last| last.due);
        let due = Instant::now() + Duration::from_millis(delay);
        self.answers.push_back(Answer {
            due: before.map_or(due, |before| before.max(due)),
            nth: self.heard - 1,
            sentence: answer,
            marker,
        });
    }

    /// Answers what is due, or does something by itself.
    async fn acts(&mut self) -> Then {
        let now = Instant::now();
        if self.answers.front().is_some_and(|answer| answer.due <= now) {
            let answer = self.answers.pop_front().unwrap();
            return self.gives(answer).await;
        }
        if now < self.next {
            return Then::GoOn;
        }
        if let Some((_, since)) = self.owed.front()
            && now - *since > IMPATIENCE
        {
            return Then::End(hung(*since));
        }
        let pause = self.rng.u64(100..1_200);
        self.next = now + Duration::from_millis(pause);
        let is_parting = matches!(self.owed.back(), Some((Owed::SeeYou, _)));
        match self.vehicle.now_in() {
            _ if is_parting => Then::GoOn,
            Phase::Count => self.shows_that_it_is_there().await,
            Phase::Settle if self.rng.f32() < 0.2 => self.states_its_interval().await,
            Phase::Settle => self.reports().await,
            Phase::Run => match self.rng.u32(..100) {
                0..60 => self.reports().await,
                60..68 => self.dumps().await,
                68..72 => self.states_its_interval().await,
                72..84 => self.pings(false).await,
                84..87 => {
                    self.note(Event::Goodbye);
                    self.owed.push_back((Owed::SeeYou, now));
                    self.says("GOTTA GO.").await
                }
                87..91 => Then::End(Event::Left),
                91..94 => Then::Forget,
                _ => Then::GoOn,
            },
        }
    }

    async fn says(&mut self, sentence: &str) -> Then {
        match self.line.say(sentence).await {
            Ok(()) => Then::GoOn,
            Err(_) => Then::End(Event::Closed),
        }
    }

    async fn reports(&mut self) -> Then {
        // No more at once than a device keeps.
        if self.owed.len() >= 3 {
            return Then::GoOn;
        }
        let marker = self.vehicle.next_marker();
        self.note(Event::Reported(marker));
        let thanks = Owed::Thanks(marker, "OK, THANKS!");
        self.owed.push_back((thanks, Instant::now()));
        let sentence = format!("REPORT. {}", values(self.vehicle.number, marker));
        self.says(&sentence).await
    }

    async fn dumps(&mut self) -> Then {
        if self.owed.len() >= 3 {
            return Then::GoOn;
        }
        let marker = self.vehicle.next_marker();
        self.note(Event::Dumped(marker));
        let thanks = Owed::Thanks(marker, "DAAAMN! ISSUE REPORTED ON JIRA");
        self.owed.push_back((thanks, Instant::now()));
        let content = dump(self.vehicle.number, marker);
        match self.line.dump(&content).await {
            Ok(()) => Then::GoOn,
            Err(_) => Then::End(Event::Closed),
        }
    }

    async fn states_its_interval(&mut self) -> Then {
        let seconds = self.rng.u32(10..=3600);
        self.note(Event::Stated(seconds));
        self.owed.push_back((Owed::Noted(seconds), Instant::now()));
        self.says(&format!("KEEP ME POSTED EVERY {seconds} SECONDS."))
            .await
    }

    async fn pings(&mut self, last: bool) -> Then {
        self.owed.push_back((Owed::Pong { last }, Instant::now()));
        self.says("PING.").await
    }

    async fn shows_that_it_is_there(&mut self) -> Then {
        let has_shown = self
            .owed
            .iter()
            .any(|(owed, _)| matches!(owed, Owed::Pong { last: true }));
        if has_shown {
            Then::GoOn
        } else {
            self.pings(true).await
        }
    }

    async fn gives(&mut self, answer: Answer) -> Then {
        self.note(Event::Answered {
            nth: answer.nth,
            sentence: answer.sentence.clone(),
            marker: answer.marker,
        });
        let is_last = answer.sentence == "SEE YA!";
        match self.line.answer(&answer.sentence).await {
            Err(_) => Then::End(Event::Closed),
            Ok(()) if is_last => Then::End(Event::Left),
            Ok(()) => Then::GoOn,
        }
    }
}
