//! Replays a recorded session of two real devices.

use serde_json::Value;

use crate::support::{Daemon, Database, Device, on_every_database};

struct Recording {
    /// The bytes of the device, in the chunks of the recording.
    chunks: Vec<Vec<u8>>,
    /// The replies of the former server, without commands.
    replies: Vec<Value>,
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next().unwrap() {
            b'\\' => bytes.push(b'\\'),
            b'n' => bytes.push(b'\n'),
            other => panic!("unexpected escape {other}"),
        }
    }
    bytes
}

/// One connection of the recording, up to its first `SEE YA!`.
fn recording(connection: &str) -> Recording {
    let mut recording = Recording {
        chunks: Vec::new(),
        replies: Vec::new(),
    };
    for line in include_str!("transcripts/json-session.txt").lines() {
        let fields: Vec<&str> = line.splitn(5, ' ').collect();
        let [_, name, direction, size, text] = fields[..] else {
            continue;
        };
        if name != connection {
            continue;
        }
        let bytes = unescape(text);
        assert_eq!(size, format!("{}B", bytes.len()));
        let object: Value = serde_json::from_slice(&bytes).unwrap();
        if direction == "C>S" {
            recording.chunks.push(bytes);
        } else if object["type"] != "command" {
            recording.replies.push(object.clone());
        }
        if object["message"] == "SEE YA!" {
            break;
        }
    }
    recording
}

#[track_caller]
fn expect_replies(device: &mut Device, recording: &Recording, server_id: &str) {
    for recorded in &recording.replies {
        let mut expected = recorded.clone();
        if expected["type"] == "connected" {
            expected["serverId"] = server_id.into();
        }
        assert_eq!(device.object(), expected);
    }
}

fn replay(database: &Database, cut: impl Fn(&Recording) -> Vec<Vec<u8>>) {
    let daemon = Daemon::on(database).start();
    for connection in ["conn1", "conn2"] {
        let recording = recording(connection);
        assert!(recording.chunks.len() > 4 && recording.replies.len() > 2);
        let mut device = daemon.connect();
        for chunk in cut(&recording) {
            device.send(&chunk);
        }
        expect_replies(&mut device, &recording, &daemon.id);
        if connection == "conn1" {
            device.expect_closed();
        }
    }
    let vehicle = daemon.wait_until_offline("b5fb448e-d1b0-40ca-a783-24e127cbf76a");
    assert_eq!(vehicle["latitude"], 43.021_561_65);
    assert_eq!(vehicle["disconnectReason"], "goodbye");
    let blobs = daemon.json("/vehicles/b5fb448e-d1b0-40ca-a783-24e127cbf76a/debug-blobs");
    assert_eq!(blobs["items"][0]["size"], 13);
}

on_every_database! {
    the_recorded_session_replays_in_its_own_chunks,
}

fn the_recorded_session_replays_in_its_own_chunks(database: &Database) {
    replay(database, |recording| recording.chunks.clone());
}

#[test]
fn the_recorded_session_replays_byte_by_byte() {
    replay(&Database::File, |recording| {
        recording
            .chunks
            .concat()
            .chunks(1)
            .map(<[u8]>::to_vec)
            .collect()
    });
}

#[test]
fn the_recorded_session_replays_in_one_write() {
    replay(&Database::File, |recording| vec![recording.chunks.concat()]);
}
