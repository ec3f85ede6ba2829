//! Histories written by hand, of one vehicle: a checker that finds nothing in a wrong one is worth nothing.

use super::{Violation, tools::is_final, violations};
use crate::history::record::{
    Audit, Change, CommandRow, Connection, Event, Fault, History, Kind, Marker, Moment, Polled,
    Seen, Session, Trouble, VehicleRow, Writer,
};

pub(super) const TRUCK: &str = "truck-0";

/// What happened so far. Each thing takes ten milliseconds.
#[derive(Clone)]
pub(super) struct Story {
    pub(super) history: History,
    pub(super) session: Session,
    pub(super) now: Moment,
    batch: i64,
    alive: Option<Connection>,
    pub(super) marker: Option<Marker>,
    pub(super) acknowledged: Option<i64>,
}

impl Story {
    /// Two instances, A and B, are live, and nobody is there.
    pub(super) fn new() -> Self {
        let mut story = Self {
            history: History::default(),
            session: Session::default(),
            now: 0,
            batch: 0,
            alive: None,
            marker: None,
            acknowledged: None,
        };
        for id in ["A", "B"] {
            story.is(id, "live");
        }
        story
    }

    pub(super) fn passes(&mut self, time: Moment) -> &mut Self {
        self.now += time;
        self
    }

    pub(super) fn see(&mut self, connection: Connection, event: Event) -> &mut Self {
        self.now += 10;
        let seen = Seen {
            at: self.now,
            connection,
            event,
        };
        self.history
            .seen
            .entry(TRUCK.to_owned())
            .or_default()
            .push(seen);
        self
    }

    /// Written by this instance in a batch of its own.
    fn note(&mut self, writer: &str, change: Change) -> &mut Self {
        self.batch += 1;
        self.note_too(writer, change)
    }

    /// Written in the same batch as what was before.
    pub(super) fn note_too(&mut self, writer: &str, change: Change) -> &mut Self {
        self.now += 10;
        self.note_now(writer, change)
    }

    /// The same, and takes no time.
    pub(super) fn note_now(&mut self, writer: &str, change: Change) -> &mut Self {
        self.history.audit.push(Audit {
            at: self.now,
            committed_after: self.now,
            writer: Writer {
                instance: writer.to_owned(),
                batch: self.batch,
            },
            change,
        });
        self
    }

    /// An instance is `live` or `dead` from now on.
    pub(super) fn is(&mut self, id: &str, state: &str) -> &mut Self {
        self.note(
            "",
            Change::Instance {
                id: id.to_owned(),
                name: id.to_owned(),
                state: state.to_owned(),
            },
        )
    }

    /// Something is wrong with a server for so long.
    pub(super) fn trouble(&mut self, what: Fault, length: Moment) -> &mut Self {
        let from = self.now;
        let until = from + length;
        self.history.troubles.push(Trouble { from, until, what });
        self.passes(length)
    }

    /// Says hello on a new connection.
    pub(super) fn hello(&mut self, connection: Connection) -> &mut Self {
        let address = address(connection);
        self.see(connection, Event::Connected { address });
        self.see(connection, Event::Hello)
    }

    /// Writes this session.
    pub(super) fn step(&mut self, writer: &str, session: Session) -> &mut Self {
        let flips = self.session.online != session.online;
        self.session = session.clone();
        let device_id = TRUCK.to_owned();
        self.note(writer, Change::Session { device_id, session });
        if flips {
            let kind = ["vehicle.offline", "vehicle.online"][usize::from(self.session.online)];
            self.tells(writer, kind);
        }
        self
    }

    /// Connects and is greeted by A.
    pub(super) fn log_in(&mut self, connection: Connection, epoch: i64) -> &mut Self {
        self.log_in_at("A", connection, epoch)
    }

    pub(super) fn log_in_at(
        &mut self,
        instance: &str,
        connection: Connection,
        epoch: i64,
    ) -> &mut Self {
        self.hello(connection);
        self.step(instance, held(instance, connection, epoch));
        self.greeted(connection)
    }

    pub(super) fn greeted(&mut self, connection: Connection) -> &mut Self {
        self.alive = Some(connection);
        self.see(connection, Event::Greeted)
    }

    /// Has waited so long, and gives up.
    pub(super) fn hangs(&mut self, connection: Connection, waited: Moment) -> &mut Self {
        self.alive = None;
        self.see(connection, Event::Hung { waited })
    }

    /// The device closes, or is closed.
    pub(super) fn leaves(&mut self, connection: Connection) -> &mut Self {
        if self.alive == Some(connection) {
            self.alive = None;
        }
        self.see(connection, Event::Left)
    }

    /// Its session is over and it is offline.
    pub(super) fn goes_offline(&mut self, writer: &str, reason: &str) -> &mut Self {
        let session = Session {
            online: false,
            instance: None,
            offline_due: None,
            reason: Some(reason.to_owned()),
            ..self.session.clone()
        };
        self.step(writer, session)
    }

    /// Its session is over, and it is offline if it is not back in so many milliseconds.
    pub(super) fn is_given(&mut self, writer: &str, grace: Moment) -> &mut Self {
        let session = Session {
            instance: None,
            offline_due: Some(self.now + 10 + grace),
            reason: Some("instance-lost".to_owned()),
            ..self.session.clone()
        };
        self.step(writer, session)
    }

    pub(super) fn polled(&mut self, online: bool) -> &mut Self {
        self.history.polled.push(Polled {
            from: self.now,
            until: self.now,
            device_id: TRUCK.to_owned(),
            online,
        });
        self
    }

    pub(super) fn report(&mut self, connection: Connection, marker: Marker) -> &mut Self {
        self.see(connection, Event::Reported(marker))
    }

    pub(super) fn thanked(&mut self, connection: Connection, marker: Marker) -> &mut Self {
        self.see(connection, Event::Thanked(marker))
    }

    /// A stores a report while the vehicle's row has this epoch.
    pub(super) fn stored(&mut self, marker: Marker, epoch: i64) -> &mut Self {
        self.stored_by("A", marker, epoch)
    }

    pub(super) fn stored_by(&mut self, writer: &str, marker: Marker, epoch: i64) -> &mut Self {
        self.batch += 1;
        self.stored_too(writer, marker, epoch)
    }

    /// In the batch of what was before.
    pub(super) fn stored_too(&mut self, writer: &str, marker: Marker, epoch: i64) -> &mut Self {
        self.marker = Some(marker);
        self.stored_as(Kind::Report, writer, marker, epoch)
    }

    /// The vehicle's row has the values of this report.
    pub(super) fn row_has_report(&mut self, marker: Marker) -> &mut Self {
        self.marker = Some(marker);
        self
    }

    /// A command is made in this state, to be written within two seconds.
    pub(super) fn asked(&mut self, id: &str, sentence: &str, state: &str) -> &mut Self {
        self.history.commands.push(CommandRow {
            id: id.to_owned(),
            device_id: TRUCK.to_owned(),
            sentence: sentence.to_owned(),
            state: String::new(),
            created_at: self.now,
            expires_at: self.now + 2_000,
            sent_at: None,
            finished_at: None,
            reply: None,
            late_reply: None,
        });
        self.becomes(id, state)
    }

    /// A command comes to this state.
    pub(super) fn becomes(&mut self, id: &str, state: &str) -> &mut Self {
        self.batch += 1;
        self.becomes_too("A", id, state)
    }

    /// The same in the batch of what was before.
    pub(super) fn becomes_too(&mut self, writer: &str, id: &str, state: &str) -> &mut Self {
        let now = self.now + 10;
        let row = self.command(id);
        state.clone_into(&mut row.state);
        if state == "sent" {
            row.sent_at = Some(now);
        }
        if is_final(state) {
            row.finished_at = Some(now);
        }
        let change = Change::Command {
            device_id: TRUCK.to_owned(),
            id: id.to_owned(),
            sentence: row.sentence.clone(),
            state: state.to_owned(),
            sent: row.sent_at.is_some(),
            epoch: self.session.epoch,
        };
        self.note_too(writer, change);
        if is_final(state) {
            self.tells(writer, "vehicle.command");
        }
        self
    }

    pub(super) fn command(&mut self, id: &str) -> &mut CommandRow {
        let mut rows = self.history.commands.iter_mut();
        rows.find(|row| row.id == id).unwrap()
    }

    /// A command ends with this answer in its row.
    pub(super) fn ends(&mut self, id: &str, state: &str, reply: &str) -> &mut Self {
        self.command(id).reply = Some(reply.to_owned());
        self.becomes(id, state)
    }

    pub(super) fn heard(&mut self, connection: Connection, sentence: &str) -> &mut Self {
        self.hears(connection, sentence, false)
    }

    /// Reads it when the run is over.
    pub(super) fn heard_late(&mut self, connection: Connection, sentence: &str) -> &mut Self {
        self.hears(connection, sentence, true)
    }

    fn hears(&mut self, connection: Connection, sentence: &str, late: bool) -> &mut Self {
        let sentence = sentence.to_owned();
        self.see(connection, Event::Heard { sentence, late })
    }

    pub(super) fn answers(
        &mut self,
        connection: Connection,
        nth: usize,
        sentence: &str,
    ) -> &mut Self {
        self.see(
            connection,
            Event::Answered {
                nth,
                sentence: sentence.to_owned(),
                marker: None,
            },
        )
    }

    /// The connection that is open at the end is another than the one that was greeted last.
    pub(super) fn alive(&mut self, connection: Option<Connection>) -> &mut Self {
        self.alive = connection;
        self
    }

    /// The history of it when all is over.
    pub(super) fn over(&self) -> History {
        let mut story = self.clone();
        if let Some(connection) = story.alive {
            story.see(connection, Event::Alive);
            story.history.held += 1;
        }
        story.history.seen.entry(TRUCK.to_owned()).or_default();
        story.history.end = story.now;
        story.history.vehicles.push(VehicleRow {
            device_id: TRUCK.to_owned(),
            session: story.session,
            marker: story.marker,
            acknowledged: story.acknowledged,
        });
        story.history
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        violations(&self.over())
    }
}

/// The device's address on this connection.
pub(super) fn address(connection: Connection) -> String {
    format!("10.0.0.{connection}:1024")
}

/// A session that this instance holds.
pub(super) fn held(instance: &str, connection: Connection, epoch: i64) -> Session {
    Session {
        online: true,
        epoch,
        instance: Some(instance.to_owned()),
        remote: Some(address(connection)),
        ..Session::default()
    }
}

/// What is found wrong about this invariant.
pub(super) fn faults_of(story: &Story, invariant: u8) -> Vec<String> {
    let violations = story.violations().into_iter();
    violations
        .filter(|violation| violation.invariant == invariant)
        .map(|violation| violation.what)
        .collect()
}
