//! What a device does on its connection: its replies to commands, and its own reports, blobs, pings and goodbyes.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    device_connection::{
        DeviceConnection, ExpectedReply, Next, REPLY_TIMEOUT, ScheduledReply, timed_out,
    },
    fleet::Phase,
};
use crate::history::{
    payload::{blob, report_values},
    record::DeviceEvent,
};

/// How many replies a device expects at most before it stops sending.
const MAX_EXPECTED: usize = 3;

impl DeviceConnection {
    /// Decides about the reply to a command: none, a late one, or one in time.
    pub(super) fn schedule_reply(&mut self, sentence: &str) {
        let is_active = self.vehicle.current_phase() == Phase::Active;
        let luck = self.rng.f32();
        if is_active && luck < 0.04 {
            return;
        }
        let delay = if is_active && luck < 0.1 {
            self.rng.u64(1_000..2_500)
        } else {
            self.rng.u64(20..100)
        };
        let mut marker = None;
        let reply = match sentence {
            "HOW'S IT GOING?" => {
                let number = self.vehicle.next_marker();
                marker = Some(number);
                format!("FINE. {}", report_values(self.vehicle.number, number))
            }
            "GOTTA GO." => "SEE YA!".to_owned(),
            "HEY YOU, RUN!" | "HEY YOU, REST!" if self.rng.f32() < 0.15 => {
                "I CAN'T, SORRY.".to_owned()
            }
            "HEY YOU, RUN!" | "HEY YOU, REST!" => "DONE!".to_owned(),
            _ => "SURE, I WILL!".to_owned(),
        };
        // Replies are sent in the order of their commands.
        let last = self.scheduled.back().map(|last| last.due);
        let due = Instant::now() + Duration::from_millis(delay);
        self.scheduled.push_back(ScheduledReply {
            due: last.map_or(due, |last| last.max(due)),
            nth: self.commands - 1,
            sentence: reply,
            marker,
        });
    }

    /// Sends the reply that is due, or does something on its own.
    pub(super) async fn act(&mut self) -> Next {
        let now = Instant::now();
        if self.scheduled.front().is_some_and(|reply| reply.due <= now) {
            let reply = self.scheduled.pop_front().unwrap();
            return self.send_reply(reply).await;
        }
        if now < self.next_action {
            return Next::Continue;
        }
        if let Some((_, since)) = self.expected.front()
            && now - *since > REPLY_TIMEOUT
        {
            return Next::End(timed_out(*since));
        }
        let pause = self.rng.u64(100..1_200);
        self.next_action = now + Duration::from_millis(pause);
        let is_leaving = matches!(self.expected.back(), Some((ExpectedReply::Goodbye, _)));
        match self.vehicle.current_phase() {
            _ if is_leaving => Next::Continue,
            Phase::Count => self.send_last_ping().await,
            Phase::Settle if self.rng.f32() < 0.2 => self.send_interval().await,
            Phase::Settle => self.send_report().await,
            Phase::Active => match self.rng.u32(..100) {
                0..60 => self.send_report().await,
                60..68 => self.send_blob().await,
                68..72 => self.send_interval().await,
                72..84 => self.send_ping(false).await,
                84..87 => {
                    self.observe(DeviceEvent::SentGoodbye);
                    self.expected.push_back((ExpectedReply::Goodbye, now));
                    self.send("GOTTA GO.").await
                }
                87..91 => Next::End(DeviceEvent::ClosedByDevice),
                91..94 => Next::Abandon,
                _ => Next::Continue,
            },
        }
    }

    async fn send(&mut self, sentence: &str) -> Next {
        match self.device.say(sentence).await {
            Ok(()) => Next::Continue,
            Err(_) => Next::End(DeviceEvent::ClosedByPeer),
        }
    }

    fn expect(&mut self, reply: ExpectedReply) {
        self.expected.push_back((reply, Instant::now()));
    }

    async fn send_report(&mut self) -> Next {
        if self.expected.len() >= MAX_EXPECTED {
            return Next::Continue;
        }
        let marker = self.vehicle.next_marker();
        self.observe(DeviceEvent::SentReport(marker));
        self.expect(ExpectedReply::Acknowledgement(marker, "OK, THANKS!"));
        let values = report_values(self.vehicle.number, marker);
        self.send(&format!("REPORT. {values}")).await
    }

    async fn send_blob(&mut self) -> Next {
        const ACKNOWLEDGEMENT: &str = "DAAAMN! ISSUE REPORTED ON JIRA";
        if self.expected.len() >= MAX_EXPECTED {
            return Next::Continue;
        }
        let marker = self.vehicle.next_marker();
        self.observe(DeviceEvent::SentBlob(marker));
        self.expect(ExpectedReply::Acknowledgement(marker, ACKNOWLEDGEMENT));
        match self.device.dump(&blob(self.vehicle.number, marker)).await {
            Ok(()) => Next::Continue,
            Err(_) => Next::End(DeviceEvent::ClosedByPeer),
        }
    }

    async fn send_interval(&mut self) -> Next {
        let seconds = self.rng.u32(10..=3600);
        self.observe(DeviceEvent::SentInterval(seconds));
        self.expect(ExpectedReply::IntervalAcknowledgement(seconds));
        self.send(&format!("KEEP ME POSTED EVERY {seconds} SECONDS."))
            .await
    }

    async fn send_ping(&mut self, last: bool) -> Next {
        self.expect(ExpectedReply::Pong { last });
        self.send("PING.").await
    }

    /// Sends the `PING.` whose reply proves that the connection is alive, once.
    async fn send_last_ping(&mut self) -> Next {
        let is_sent = self
            .expected
            .iter()
            .any(|(reply, _)| matches!(reply, ExpectedReply::Pong { last: true }));
        if is_sent {
            Next::Continue
        } else {
            self.send_ping(true).await
        }
    }

    async fn send_reply(&mut self, reply: ScheduledReply) -> Next {
        self.observe(DeviceEvent::SentReply {
            nth: reply.nth,
            sentence: reply.sentence.clone(),
            marker: reply.marker,
        });
        let is_goodbye = reply.sentence == "SEE YA!";
        match self.device.answer(&reply.sentence).await {
            Err(_) => Next::End(DeviceEvent::ClosedByPeer),
            Ok(()) if is_goodbye => Next::End(DeviceEvent::ClosedByDevice),
            Ok(()) => Next::Continue,
        }
    }
}
