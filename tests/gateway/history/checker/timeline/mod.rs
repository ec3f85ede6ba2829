//! Histories written by hand, of one vehicle: a checker that finds nothing in a wrong one is worth nothing.

mod http;
mod webhooks;

use crate::history::checker::{Violation, fault_windows::is_final, violations};
use crate::history::record::{
    Audit, Change, CommandRow, Connection, Event, Fault, History, Kind, Marker, Moment, Polled,
    Seen, Session, Trouble, VehicleRow, Writer,
};

pub(crate) const TRUCK: &str = "truck-0";

/// What happened so far. Each thing takes ten milliseconds.
#[derive(Clone)]
pub(crate) struct Story {
    pub(crate) history: History,
    pub(crate) session: Session,
    pub(crate) now: Moment,
    batch: i64,
    alive: Option<Connection>,
    pub(crate) marker: Option<Marker>,
    pub(crate) acknowledged: Option<i64>,
}

impl Story {
    /// Two instances, A and B, are live, and nobody is there.
    pub(crate) fn new() -> Self {
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

    pub(crate) fn passes(&mut self, time: Moment) -> &mut Self {
        self.now += time;
        self
    }

    pub(crate) fn see(&mut self, connection: Connection, event: Event) -> &mut Self {
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
    pub(crate) fn note_too(&mut self, writer: &str, change: Change) -> &mut Self {
        self.now += 10;
        self.note_now(writer, change)
    }

    /// The same, and takes no time.
    pub(crate) fn note_now(&mut self, writer: &str, change: Change) -> &mut Self {
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
    pub(crate) fn is(&mut self, id: &str, state: &str) -> &mut Self {
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
    pub(crate) fn trouble(&mut self, what: Fault, length: Moment) -> &mut Self {
        let from = self.now;
        let until = from + length;
        self.history.troubles.push(Trouble { from, until, what });
        self.passes(length)
    }

    /// Says hello on a new connection.
    pub(crate) fn hello(&mut self, connection: Connection) -> &mut Self {
        let address = address(connection);
        self.see(connection, Event::Connected { address });
        self.see(connection, Event::Hello)
    }

    /// Writes this session.
    pub(crate) fn step(&mut self, writer: &str, session: Session) -> &mut Self {
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
    pub(crate) fn log_in(&mut self, connection: Connection, epoch: i64) -> &mut Self {
        self.log_in_at("A", connection, epoch)
    }

    pub(crate) fn log_in_at(
        &mut self,
        instance: &str,
        connection: Connection,
        epoch: i64,
    ) -> &mut Self {
        self.hello(connection);
        self.step(instance, held(instance, connection, epoch));
        self.greeted(connection)
    }

    pub(crate) fn greeted(&mut self, connection: Connection) -> &mut Self {
        self.alive = Some(connection);
        self.see(connection, Event::Greeted)
    }

    /// Has waited so long, and gives up.
    pub(crate) fn hangs(&mut self, connection: Connection, waited: Moment) -> &mut Self {
        self.alive = None;
        self.see(connection, Event::Hung { waited })
    }

    /// The device closes, or is closed.
    pub(crate) fn leaves(&mut self, connection: Connection) -> &mut Self {
        if self.alive == Some(connection) {
            self.alive = None;
        }
        self.see(connection, Event::Left)
    }

    /// Its session is over and it is offline.
    pub(crate) fn goes_offline(&mut self, writer: &str, reason: &str) -> &mut Self {
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
    pub(crate) fn is_given(&mut self, writer: &str, grace: Moment) -> &mut Self {
        let session = Session {
            instance: None,
            offline_due: Some(self.now + 10 + grace),
            reason: Some("instance-lost".to_owned()),
            ..self.session.clone()
        };
        self.step(writer, session)
    }

    pub(crate) fn polled(&mut self, online: bool) -> &mut Self {
        self.history.polled.push(Polled {
            from: self.now,
            until: self.now,
            device_id: TRUCK.to_owned(),
            online,
        });
        self
    }

    pub(crate) fn report(&mut self, connection: Connection, marker: Marker) -> &mut Self {
        self.see(connection, Event::Reported(marker))
    }

    pub(crate) fn thanked(&mut self, connection: Connection, marker: Marker) -> &mut Self {
        self.see(connection, Event::Thanked(marker))
    }

    /// A stores a report while the vehicle's row has this epoch.
    pub(crate) fn stored(&mut self, marker: Marker, epoch: i64) -> &mut Self {
        self.stored_by("A", marker, epoch)
    }

    pub(crate) fn stored_by(&mut self, writer: &str, marker: Marker, epoch: i64) -> &mut Self {
        self.batch += 1;
        self.stored_too(writer, marker, epoch)
    }

    /// In the batch of what was before.
    pub(crate) fn stored_too(&mut self, writer: &str, marker: Marker, epoch: i64) -> &mut Self {
        self.marker = Some(marker);
        self.stored_as(Kind::Report, writer, marker, epoch)
    }

    /// The vehicle's row has the values of this report.
    pub(crate) fn row_has_report(&mut self, marker: Marker) -> &mut Self {
        self.marker = Some(marker);
        self
    }

    /// A command is made in this state, to be written within two seconds.
    pub(crate) fn asked(&mut self, id: &str, sentence: &str, state: &str) -> &mut Self {
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
    pub(crate) fn becomes(&mut self, id: &str, state: &str) -> &mut Self {
        self.batch += 1;
        self.becomes_too("A", id, state)
    }

    /// The same in the batch of what was before.
    pub(crate) fn becomes_too(&mut self, writer: &str, id: &str, state: &str) -> &mut Self {
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

    pub(crate) fn command(&mut self, id: &str) -> &mut CommandRow {
        let mut rows = self.history.commands.iter_mut();
        rows.find(|row| row.id == id).unwrap()
    }

    /// A command ends with this answer in its row.
    pub(crate) fn ends(&mut self, id: &str, state: &str, reply: &str) -> &mut Self {
        self.command(id).reply = Some(reply.to_owned());
        self.becomes(id, state)
    }

    pub(crate) fn heard(&mut self, connection: Connection, sentence: &str) -> &mut Self {
        self.hears(connection, sentence, false)
    }

    /// Reads it when the run is over.
    pub(crate) fn heard_late(&mut self, connection: Connection, sentence: &str) -> &mut Self {
        self.hears(connection, sentence, true)
    }

    fn hears(&mut self, connection: Connection, sentence: &str, late: bool) -> &mut Self {
        let sentence = sentence.to_owned();
        self.see(connection, Event::Heard { sentence, late })
    }

    pub(crate) fn answers(
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
    pub(crate) fn alive(&mut self, connection: Option<Connection>) -> &mut Self {
        self.alive = connection;
        self
    }

    /// The history of it when all is over.
    pub(crate) fn over(&self) -> History {
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

    pub(crate) fn violations(&self) -> Vec<Violation> {
        violations(&self.over())
    }
}

/// The device's address on this connection.
pub(crate) fn address(connection: Connection) -> String {
    format!("10.0.0.{connection}:1024")
}

/// A session that this instance holds.
pub(crate) fn held(instance: &str, connection: Connection, epoch: i64) -> Session {
    Session {
        online: true,
        epoch,
        instance: Some(instance.to_owned()),
        remote: Some(address(connection)),
        ..Session::default()
    }
}

/// What is found wrong about this invariant.
pub(crate) fn faults_of(story: &Story, invariant: u8) -> Vec<String> {
    let violations = story.violations().into_iter();
    violations
        .filter(|violation| violation.invariant == invariant)
        .map(|violation| violation.what)
        .collect()
}
