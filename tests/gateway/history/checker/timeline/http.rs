//! What HTTP clients do in a history that is written by hand, and what is stored of a vehicle beside its reports.

use crate::history::checker::fault_windows::kind;
use crate::history::checker::timeline::{Story, TRUCK};
use crate::history::record::{
    Change, Connection, Errand, Event, Kind, Marker, Request, Session, StoredRow, Told, Wish,
};

impl Story {
    /// Somebody who asked for this was told so.
    pub(crate) fn told(
        &mut self,
        sentence: &str,
        status: u16,
        name: &str,
        id: Option<&str>,
    ) -> &mut Self {
        self.told_again(None, sentence, status, name, id)
    }

    pub(crate) fn told_again(
        &mut self,
        key: Option<&str>,
        sentence: &str,
        status: u16,
        name: &str,
        id: Option<&str>,
    ) -> &mut Self {
        let mut rows = self.history.commands.iter();
        let reply = rows
            .find(|row| Some(row.id.as_str()) == id)
            .and_then(|row| row.reply.clone());
        self.history.requests.push(Request {
            from: self.now - 10,
            until: self.now,
            device_id: TRUCK.to_owned(),
            sentence: sentence.to_owned(),
            key: key.map(str::to_owned),
            told: Told::Answer {
                status,
                name: name.to_owned(),
                command: id.map(str::to_owned),
                reply,
            },
        });
        self
    }

    /// The command that most stories are about: RUN, done, and its caller was told.
    pub(crate) fn runs(&mut self, id: &str, connection: Connection, nth: usize) -> &mut Self {
        const RUN: &str = "HEY YOU, RUN!";
        assert_eq!(kind(RUN), "DONE");
        self.asked(id, RUN, "sent").heard(connection, RUN);
        self.answers(connection, nth, "DONE!")
            .ends(id, "done", "DONE!");
        self.told(RUN, 200, "done", Some(id))
    }

    /// Sends a debug blob.
    pub(crate) fn dumps(&mut self, connection: Connection, marker: Marker) -> &mut Self {
        self.see(connection, Event::Dumped(marker))
    }

    /// A report or a debug blob is written in the batch of what was before.
    pub(crate) fn stored_as(
        &mut self,
        kind: Kind,
        writer: &str,
        marker: Marker,
        epoch: i64,
    ) -> &mut Self {
        let id = i64::try_from(self.history.stored.len()).unwrap();
        let device_id = TRUCK.to_owned();
        let marker = Some(marker);
        self.history.stored.push(StoredRow {
            kind,
            id,
            device_id: device_id.clone(),
            marker,
        });
        let change = Change::Stored {
            device_id,
            kind,
            id,
            epoch,
            marker,
        };
        self.note_too(writer, change);
        if kind == Kind::Blob {
            self.tells(writer, "vehicle.debug_blob");
        }
        self
    }

    /// The rows of its history are purged.
    pub(crate) fn is_purged(&mut self) -> &mut Self {
        self.history.stored.clear();
        self
    }

    /// Says how often it reports, and is told that it is noted.
    pub(crate) fn states(&mut self, connection: Connection, seconds: u32) -> &mut Self {
        self.see(connection, Event::Stated(seconds));
        self.acknowledged = Some(i64::from(seconds));
        self.see(connection, Event::Noted(seconds))
    }

    /// B writes that it is deleted.
    pub(crate) fn is_deleted(&mut self) -> &mut Self {
        self.marker = None;
        self.acknowledged = None;
        let session = Session {
            epoch: self.session.epoch,
            deleted: true,
            forget: Some(self.now + 10),
            ..Session::default()
        };
        self.step("B", session)
    }

    /// Somebody who wanted this was told so.
    pub(crate) fn wished(&mut self, wish: Wish, status: u16, name: &str) -> &mut Self {
        self.history.errands.push(Errand {
            from: self.now - 10,
            until: self.now,
            device_id: TRUCK.to_owned(),
            wish,
            told: Told::Answer {
                status,
                name: name.to_owned(),
                command: None,
                reply: None,
            },
        });
        self
    }
}
