//! A TCP proxy between the gateway and its database that delays or drops traffic.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

#[derive(Default)]
struct State {
    /// A chunk from the gateway that contains this is held, with everything behind it on that connection.
    hold: Option<&'static [u8]>,
    /// The number of chunks that are held.
    held: usize,
    /// The number of calls of [`DatabaseProxy::release`].
    releases: usize,
    /// Connections up to this number are dead: nothing passes, and neither side is closed.
    dead: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    connections: AtomicUsize,
    /// The number of the next connections that are closed at once.
    to_close: AtomicUsize,
}

pub(crate) struct DatabaseProxy {
    port: u16,
    shared: Arc<Shared>,
}

impl DatabaseProxy {
    /// A proxy to the server of this URL.
    pub(crate) fn to(url: &str) -> Self {
        let address = url.rsplit('@').next().unwrap();
        let address = address.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let closing = |left: usize| left.checked_sub(1);
                let (set, get) = (Ordering::SeqCst, Ordering::SeqCst);
                if accepting.to_close.fetch_update(set, get, closing).is_ok() {
                    continue;
                }
                let number = accepting.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let Ok(server) = TcpStream::connect(&address) else {
                    continue;
                };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let shared = Arc::clone(&accepting);
                thread::spawn(move || pass(&shared, number, from, to, true));
                let shared = Arc::clone(&accepting);
                thread::spawn(move || pass(&shared, number, server, client, false));
            }
        });
        Self { port, shared }
    }

    /// The same URL through the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let (user, address) = url.rsplit_once('@').unwrap();
        let (_, database) = address.split_once('/').unwrap();
        format!("{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Closes the next connections at once, as if no server were there.
    pub(crate) fn close_next(&self, connections: usize) {
        self.shared.to_close.store(connections, Ordering::SeqCst);
    }

    /// Holds chunks from the gateway that contain this text.
    pub(crate) fn hold(&self, text: &'static str) {
        self.shared.state.lock().unwrap().hold = Some(text.as_bytes());
    }

    /// Waits until this many chunks are held.
    pub(crate) fn wait_until_held(&self, pieces: usize) {
        let state = self.shared.state.lock().unwrap();
        drop(
            self.shared
                .changed
                .wait_while(state, |state| state.held < pieces)
                .unwrap(),
        );
    }

    /// Forwards everything, also what was held.
    pub(crate) fn release(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.hold = None;
        state.releases += 1;
        self.shared.changed.notify_all();
    }

    /// Drops all traffic of the present connections; new ones work.
    pub(crate) fn sever(&self) {
        self.shared.state.lock().unwrap().dead = self.shared.connections.load(Ordering::SeqCst);
    }
}

fn pass(shared: &Shared, number: usize, mut from: TcpStream, mut to: TcpStream, is_gateway: bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let said = &buffer[..length];
        let mut state = shared.state.lock().unwrap();
        if is_gateway
            && state
                .hold
                .is_some_and(|text| said.windows(text.len()).any(|part| part == text))
        {
            let releases = state.releases;
            state.held += 1;
            shared.changed.notify_all();
            state = shared
                .changed
                .wait_while(state, |state| state.releases == releases)
                .unwrap();
        }
        let is_dead = number <= state.dead;
        drop(state);
        if !is_dead && to.write_all(said).is_err() {
            break;
        }
    }
    if shared.state.lock().unwrap().dead < number {
        let _closed = to.shutdown(std::net::Shutdown::Write);
    }
}
