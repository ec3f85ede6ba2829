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
    /// What the gateway sends, and what passes in its place: as many bytes.
    replace: Option<(&'static [u8], &'static [u8])>,
    /// The number of chunks that are held.
    held: usize,
    /// The number of calls of [`DatabaseProxy::release`].
    releases: usize,
    /// Connections up to this number are dead: nothing passes, and neither side is closed.
    dead: usize,
    /// On connections up to this number the replies of the server are lost.
    mute: usize,
    /// Both sides of the connections, to close them.
    open: Vec<TcpStream>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    connections: AtomicUsize,
    /// The number of the next connections that are closed at once.
    to_close: AtomicUsize,
    /// Where new connections lead.
    address: Mutex<String>,
}

pub(crate) struct DatabaseProxy {
    host: &'static str,
    port: u16,
    shared: Arc<Shared>,
}

impl DatabaseProxy {
    /// A proxy to the server of this URL.
    pub(crate) fn to(url: &str) -> Self {
        Self::between("127.0.0.1", url)
    }

    /// A proxy on this host to the server of this URL.
    pub(crate) fn between(host: &'static str, url: &str) -> Self {
        let listener = TcpListener::bind((host.trim_matches(['[', ']']), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        *shared.address.lock().unwrap() = address(url);
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let closing = |left: usize| left.checked_sub(1);
                let (set, get) = (Ordering::SeqCst, Ordering::SeqCst);
                if accepting.to_close.fetch_update(set, get, closing).is_ok() {
                    continue;
                }
                let number = accepting.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let address = accepting.address.lock().unwrap().clone();
                let Ok(server) = TcpStream::connect(&address) else {
                    continue;
                };
                let both = [&client, &server].map(|side| side.try_clone().unwrap());
                accepting.state.lock().unwrap().open.extend(both);
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let shared = Arc::clone(&accepting);
                thread::spawn(move || pass(&shared, number, from, to, true));
                let shared = Arc::clone(&accepting);
                thread::spawn(move || pass(&shared, number, server, client, false));
            }
        });
        Self { host, port, shared }
    }

    /// The same URL through the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let (user, address) = url.rsplit_once('@').unwrap();
        let (_, database) = address.split_once('/').unwrap();
        format!("{user}@{}:{}/{database}", self.host, self.port)
    }

    /// Leads new connections to the server of this URL. The present ones stay where they are, as after a switchover
    /// behind a balancer.
    pub(crate) fn redirect(&self, url: &str) {
        *self.shared.address.lock().unwrap() = address(url);
    }
    /// Passes another text of the same length in place of this one from the gateway.
    pub(crate) fn replace(&self, text: &'static str, by: &'static str) {
        assert_eq!(text.len(), by.len());
        self.shared.state.lock().unwrap().replace = Some((text.as_bytes(), by.as_bytes()));
    }

    /// Loses what the server replies on the present connections, but not what it is sent.
    pub(crate) fn lose_replies(&self) {
        self.shared.state.lock().unwrap().mute = self.shared.connections.load(Ordering::SeqCst);
    }

    /// Closes the present connections, as a balancer does that takes a server out.
    pub(crate) fn close_connections(&self) {
        for side in self.shared.state.lock().unwrap().open.drain(..) {
            // It may have closed already.
            let _closed = side.shutdown(std::net::Shutdown::Both);
        }
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

    /// Forwards what was held, and holds chunks that contain this text from now on.
    pub(crate) fn release_until(&self, text: &'static str) {
        let mut state = self.shared.state.lock().unwrap();
        state.hold = Some(text.as_bytes());
        state.releases += 1;
        self.shared.changed.notify_all();
    }

    /// Drops all traffic of the present connections; new ones work.
    pub(crate) fn sever(&self) {
        self.shared.state.lock().unwrap().dead = self.shared.connections.load(Ordering::SeqCst);
    }
}

/// The host and port in a URL.
fn address(url: &str) -> String {
    let address = url.rsplit('@').next().unwrap();
    address.split('/').next().unwrap().to_owned()
}

fn pass(shared: &Shared, number: usize, mut from: TcpStream, mut to: TcpStream, is_gateway: bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let said = &mut buffer[..length];
        let mut state = shared.state.lock().unwrap();
        if let Some((text, by)) = state.replace
            && is_gateway
            && let Some(at) = said.windows(text.len()).position(|part| part == text)
        {
            said[at..at + by.len()].copy_from_slice(by);
        }
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
        let is_dead = number <= state.dead || (!is_gateway && number <= state.mute);
        drop(state);
        if !is_dead && to.write_all(said).is_err() {
            break;
        }
    }
    if shared.state.lock().unwrap().dead < number {
        let _closed = to.shutdown(std::net::Shutdown::Write);
    }
}
