//! One connection of a device: login, heartbeats, reports, answers, goodbye.
//!
//! A loop around one wait: for the gateway, for the keyboard, for the clock, or for the end of the
//! simulation. What a sentence makes of the vehicle is told in `vehicle`.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    device::{Device, Ended, Lines, next_line},
    tally::Event,
    terminal::understand,
};
use crate::{
    domain::{Action, DeviceSentence, GatewaySentence},
    protocol::{Dialect, GatewayDecoder, Heard, Message, encode, encode_connected, encode_device},
};

/// How long a JSON device waits for the `connected` object before it speaks without it.
const CONNECTED_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer may take: more than the gateway gives its own database.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the gateway may take to accept what is written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the answer to a goodbye is waited for.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);
/// What one read may return. The gateway says one short sentence at a time.
const CHUNK: usize = 512;
/// Sentences without an answer at which no more typed ones are said.
const PIPELINE: usize = 32;

/// Talks until the connection ends; whether a session began, and why all ended.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    device: &mut Device,
    stream: S,
    lines: &mut Lines,
    stop: &CancellationToken,
) -> (bool, Ended) {
    let mut connection = Connection {
        phase: Phase::Silent {
            until: Instant::now() + CONNECTED_TIMEOUT,
        },
        device,
        stream,
        decoder: GatewayDecoder::default(),
        server_id: None,
        unanswered: VecDeque::new(),
        next_heartbeat: None,
        next_report: None,
        logged_in: false,
    };
    let ended = connection.run(lines, stop).await;
    let leaving = matches!(connection.phase, Phase::Leaving { .. });
    let logged_in = connection.logged_in;
    if logged_in {
        device.tally.count(Event::SessionEnd);
    }
    // Whatever ends a connection that was to end is its end.
    (logged_in, if leaving { Ended::Goodbye } else { ended })
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// A JSON device waits for the `connected` object.
    Silent { until: Instant },
    /// The login was said.
    LoggingIn,
    /// The login was answered.
    LoggedIn,
    /// The goodbye was said.
    Leaving { until: Instant },
}

struct Connection<'a, S> {
    device: &'a mut Device,
    stream: S,
    phase: Phase,
    decoder: GatewayDecoder,
    server_id: Option<Uuid>,
    /// The answers that are due and since when, oldest first: that is the order they come in.
    unanswered: VecDeque<(GatewaySentence, Instant)>,
    next_heartbeat: Option<Instant>,
    next_report: Option<Instant>,
    logged_in: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn run(&mut self, lines: &mut Lines, stop: &CancellationToken) -> Ended {
        loop {
            if let Err(ended) = self.step(lines, stop).await {
                return ended;
            }
        }
    }

    async fn step(&mut self, lines: &mut Lines, stop: &CancellationToken) -> Result<(), Ended> {
        let leaving = matches!(self.phase, Phase::Leaving { .. });
        let talking = matches!(self.phase, Phase::LoggedIn) && self.unanswered.len() < PIPELINE;
        let due = self.next_due();
        let mut chunk = [0; CHUNK];
        tokio::select! {
            biased;
            () = stop.cancelled(), if !leaving => self.leave().await,
            read = self.stream.read(&mut chunk) => match read {
                Ok(0) => Err(Ended::Closed),
                Ok(read) => self.hear(&chunk[..read]).await,
                Err(error) => Err(Ended::Broken(error)),
            },
            line = next_line(lines), if talking => self.typed(&line).await,
            () = sleep_until(due) => self.act().await,
        }
    }

    /// When the clock makes something due.
    fn next_due(&self) -> Instant {
        match self.phase {
            Phase::Silent { .. } if self.device.dialect == Dialect::Text => Instant::now(),
            Phase::Silent { until } | Phase::Leaving { until } => until,
            Phase::LoggingIn | Phase::LoggedIn => {
                let answer = self
                    .unanswered
                    .front()
                    .map(|(_, since)| *since + ANSWER_TIMEOUT);
                let due = [answer, self.next_heartbeat, self.next_report];
                let due = due.into_iter().flatten().min();
                due.unwrap_or_else(|| Instant::now() + ANSWER_TIMEOUT)
            }
        }
    }

    /// Does what is due.
    async fn act(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        match self.phase {
            Phase::Silent { .. } => self.log_in().await,
            Phase::Leaving { .. } => Err(Ended::NoAnswer),
            Phase::LoggingIn | Phase::LoggedIn => {
                let late = |(_, since): &(_, Instant)| *since + ANSWER_TIMEOUT <= now;
                if self.unanswered.front().is_some_and(late) {
                    return Err(Ended::NoAnswer);
                }
                if self.next_heartbeat.is_some_and(|due| due <= now) {
                    self.next_heartbeat = self.device.heartbeat.map(|every| now + every);
                    self.say(DeviceSentence::Ping).await?;
                }
                if self.next_report.is_some_and(|due| due <= now) {
                    self.next_report = self.device.vehicle.report_every().map(|every| now + every);
                    self.device.move_on();
                    let state = self.device.vehicle.state();
                    self.say(DeviceSentence::Report(state)).await?;
                }
                Ok(())
            }
        }
    }

    async fn log_in(&mut self) -> Result<(), Ended> {
        self.phase = Phase::LoggingIn;
        self.say(DeviceSentence::Hello(self.device.id.clone()))
            .await
    }

    async fn leave(&mut self) -> Result<(), Ended> {
        let until = Instant::now() + GOODBYE_TIMEOUT;
        self.phase = Phase::Leaving { until };
        self.say(DeviceSentence::Goodbye).await
    }

    async fn typed(&mut self, line: &str) -> Result<(), Ended> {
        self.device.move_on();
        match understand(line, &self.device.id, self.device.vehicle.state()) {
            Ok(None) => Ok(()),
            Ok(Some(DeviceSentence::Goodbye)) => self.leave().await,
            Ok(Some(sentence)) => {
                self.device.vehicle.follow(&sentence);
                if let DeviceSentence::KeepMePosted(_) = sentence {
                    self.plan_reports();
                }
                self.say(sentence).await
            }
            Err(hint) => {
                self.device.note(&hint);
                Ok(())
            }
        }
    }

    async fn hear(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.decoder.push(bytes);
        loop {
            let heard = self.decoder.next();
            self.show(&heard);
            match heard {
                Heard::Incomplete => return Ok(()),
                Heard::Connected { server_id } => {
                    self.server_id = Some(server_id);
                    if let Phase::Silent { .. } = self.phase {
                        self.log_in().await?;
                    }
                }
                Heard::Sentence {
                    sentence,
                    server_id,
                } => {
                    self.server_id = server_id.or(self.server_id);
                    match sentence {
                        GatewaySentence::Command(action) => self.obey(action).await?,
                        reply => self.take(reply)?,
                    }
                }
                Heard::NotUnderstood(_) => self.device.tally.count(Event::Odd),
            }
        }
    }

    /// A command, answered truthfully.
    async fn obey(&mut self, action: Action) -> Result<(), Ended> {
        self.device.move_on();
        let answer = self.device.vehicle.answer(action);
        self.answer(answer).await?;
        self.device.tally.count(Event::CommandAnswered);
        match action {
            Action::KeepMePosted(_) => self.plan_reports(),
            Action::Goodbye => {
                // Whether it is heard is for the gateway to say, and it will not: it closes.
                let _closed = timeout(WRITE_TIMEOUT, self.stream.shutdown()).await;
                return Err(Ended::ToldToGo);
            }
            _ => {}
        }
        Ok(())
    }

    /// A reply: it answers the oldest sentence that has no answer yet.
    fn take(&mut self, reply: GatewaySentence) -> Result<(), Ended> {
        let tally = Arc::clone(&self.device.tally);
        let expected = self.unanswered.pop_front().map(|(expected, _)| expected);
        let refused = matches!(reply, GatewaySentence::Bad | GatewaySentence::DontKnowYou);
        if refused {
            tally.count(Event::Bad);
            if let Phase::LoggingIn = self.phase {
                return Err(Ended::Refused);
            }
            return Ok(());
        }
        if expected != Some(reply) {
            tally.count(Event::Odd);
            return Ok(());
        }
        match reply {
            GatewaySentence::Greeting if !self.logged_in => self.greeted(),
            GatewaySentence::Pong => tally.count(Event::PingAnswered),
            GatewaySentence::Thanks => tally.count(Event::ReportThanked),
            GatewaySentence::BlobReported => tally.count(Event::BlobStored),
            GatewaySentence::SeeYa => {
                tally.count(Event::GoodbyeAnswered);
                return Err(Ended::Goodbye);
            }
            _ => {}
        }
        Ok(())
    }

    fn greeted(&mut self) {
        self.logged_in = true;
        self.device.tally.count(Event::Login);
        if !std::mem::replace(&mut self.device.known, true) {
            self.device.tally.count(Event::FirstLogin);
        }
        if let Phase::LoggingIn = self.phase {
            self.phase = Phase::LoggedIn;
            self.next_heartbeat = self.device.first(self.device.heartbeat);
            self.plan_reports();
        }
    }

    fn plan_reports(&mut self) {
        self.next_report = self.device.first(self.device.vehicle.report_every());
    }

    /// Says what the device opens, and notes what answer is due.
    async fn say(&mut self, sentence: DeviceSentence) -> Result<(), Ended> {
        let (event, answer) = match &sentence {
            DeviceSentence::Hello(_) => (None, GatewaySentence::Greeting),
            DeviceSentence::Ping => (Some(Event::PingSaid), GatewaySentence::Pong),
            DeviceSentence::Report(_) | DeviceSentence::Fine(_) => {
                (Some(Event::ReportSaid), GatewaySentence::Thanks)
            }
            DeviceSentence::DebugBlob(_) => (Some(Event::BlobSaid), GatewaySentence::BlobReported),
            DeviceSentence::Goodbye => (Some(Event::GoodbyeSaid), GatewaySentence::SeeYa),
            DeviceSentence::KeepMePosted(_) => (None, GatewaySentence::SureIWill),
            DeviceSentence::Done
            | DeviceSentence::Cannot
            | DeviceSentence::SureIWill
            | DeviceSentence::SeeYa => return self.answer(sentence).await,
        };
        self.unanswered.push_back((answer, Instant::now()));
        self.write(sentence, false).await?;
        if let Some(event) = event {
            self.device.tally.count(event);
        }
        Ok(())
    }

    /// Says what answers a command.
    async fn answer(&mut self, sentence: DeviceSentence) -> Result<(), Ended> {
        self.write(sentence, true).await
    }

    async fn write(&mut self, sentence: DeviceSentence, is_reply: bool) -> Result<(), Ended> {
        let message = Message {
            sentence,
            client_id: Some(self.device.id.clone()),
            is_reply: Some(is_reply),
        };
        let mut out = BytesMut::new();
        encode_device(
            &message,
            self.device.dialect,
            self.server_id.as_ref(),
            &mut out,
        );
        if let Some(screen) = &self.device.screen {
            screen.said(&out);
        }
        match timeout(WRITE_TIMEOUT, self.stream.write_all(&out)).await {
            Ok(written) => written.map_err(Ended::Broken),
            Err(_elapsed) => Err(Ended::Broken(io::ErrorKind::TimedOut.into())),
        }
    }

    /// What was heard, as the gateway writes it.
    fn show(&self, heard: &Heard) {
        let Some(screen) = &self.device.screen else {
            return;
        };
        let mut bytes = BytesMut::new();
        match heard {
            Heard::Incomplete => return,
            Heard::Connected { server_id } => encode_connected(server_id, &mut bytes),
            Heard::Sentence {
                sentence,
                server_id,
            } => {
                let server_id = server_id.or(self.server_id).unwrap_or_default();
                encode(*sentence, self.device.dialect, &server_id, &mut bytes);
            }
            Heard::NotUnderstood(excerpt) => bytes.extend_from_slice(excerpt),
        }
        screen.heard(&bytes);
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
