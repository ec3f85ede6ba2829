//! Clients that do not read their responses.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::{items, store_blob};
use crate::support::{Daemon, PATIENCE};

const CLIENTS: usize = 400;
const BLOB: usize = 1 << 20;

/// Asks for the blob and reads the beginning of the response only.
fn ask(daemon: &Daemon, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(daemon.http).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut status = [0; 12];
    client.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    client
}

#[test]
fn blobs_that_nobody_reads_take_little_memory() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    let blob: Vec<u8> = (0..=u8::MAX).cycle().take(BLOB).collect();
    store_blob(&mut device, &blob);
    let id = items(&daemon, "/vehicles/truck/debug-blobs?")[0]["blobId"].clone();
    let path = format!("/vehicles/truck/debug-blobs/{id}");
    let before = daemon.memory();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| ask(&daemon, &path)).collect();
    let grown = daemon.memory().saturating_sub(before);
    assert!(grown < 150 << 20, "{} MiB more", grown >> 20);
    // Whoever reads in time gets all of it.
    let mut response = Vec::new();
    clients[CLIENTS / 2].read_to_end(&mut response).unwrap();
    assert!(response.ends_with(&blob), "{} bytes", response.len());
}
