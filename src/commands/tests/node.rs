//! The instances of a test, and the vehicles that are connected to them.

use std::{
    fs,
    future::poll_fn,
    io::ErrorKind,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{TIMEOUT, VirtualTime};
use crate::{
    cluster::{Cluster, ClusterParts, Peers, PresenceOptions},
    commands::{CommandOptions, CommandParts, CommandRequest, Commands, store::CommandStore},
    domain::{
        Action, Answer, Command, CommandOutcome, DeviceId, DisconnectReason, IncarnationId,
        SessionKey,
    },
    fanout::{Fanout, memory::Network},
    instance::Instance,
    peers,
    sessions::{
        CommandWrite, ConnectionEvent, ConnectionHandle, OfflineGrace, Registry, Session, Sessions,
    },
    store::{CommandPage, DatabaseAddress, LostSessions, SessionWrite, Store, StoreOptions},
};

/// A lease that is longer than any test, so that no instance commits only to renew it.
const LEASE: Duration = Duration::from_hours(24);

/// The database and the network that the instances of a test share.
pub(super) struct TestCluster {
    pub(super) network: Network,
    folder: TempDir,
    time: VirtualTime,
}

/// One instance of a test.
pub(super) struct Node {
    pub(super) incarnation: IncarnationId,
    pub(super) commands: Arc<Commands>,
    pub(super) fanout: Arc<Fanout>,
    registry: Arc<Registry>,
    sessions: Arc<Sessions>,
    store: Arc<Store>,
    time: VirtualTime,
}

/// A vehicle with a session at one instance.
pub(super) struct Vehicle {
    pub(super) session: Arc<Session>,
    connection: Arc<ConnectionHandle>,
    commands: Arc<Commands>,
    store: Arc<Store>,
    registry: Arc<Registry>,
    time: VirtualTime,
}

impl TestCluster {
    pub(super) fn start() -> Self {
        Self {
            network: Network::default(),
            folder: TempDir::new().unwrap(),
            time: VirtualTime::start(),
        }
    }

    /// Starts an instance.
    pub(super) async fn node(&self, name: &str) -> Node {
        let file = self.folder.path().join("test.db");
        // The lock keeps other processes off the file. The writers of this process share it: each begins a transaction
        // that excludes the others, and reads again what they wrote.
        match fs::remove_file(self.folder.path().join("test.db.lock")) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
            Ok(()) | Err(_) => {}
        }
        let incarnation = IncarnationId::random();
        let opening = Box::pin(Store::open(StoreOptions {
            database: DatabaseAddress {
                url: format!("sqlite://{}", file.display()),
                shown: String::new(),
            },
            readers: 2,
            incarnation,
            instance_name: name.to_owned(),
            queue_bytes: 4 << 20,
            commit_timeout: TIMEOUT,
            lease: LEASE,
        }));
        let store = Arc::new(self.time.work(opening).await.unwrap());
        let (fanout, events) = Fanout::join(&self.network);
        fanout.listen_as(incarnation).await;
        let fanout = Arc::new(fanout);
        let registry = Arc::<Registry>::default();
        let peers = Arc::<Peers>::default();
        let instance = Arc::new(Instance::new(
            name.to_owned(),
            LEASE,
            Arc::clone(&store),
            Arc::clone(&fanout),
        ));
        let offline_grace = OfflineGrace::new(None, instance.draining().clone());
        let sessions = Arc::new(Sessions::new(
            Arc::clone(&store),
            Arc::clone(&registry),
            offline_grace.clone(),
        ));
        let mut commands = Commands::new(
            CommandParts {
                store: Arc::clone(&store),
                registry: Arc::clone(&registry),
                fanout: Arc::clone(&fanout),
                instance: Arc::clone(&instance),
                peers: Arc::clone(&peers),
                offline_grace: offline_grace.clone(),
            },
            CommandOptions {
                queue: 4,
                timeout: TIMEOUT,
            },
        );
        commands.store = CommandStore::shared_in_test(Arc::clone(&store), self.time.clone());
        let commands = Arc::new(commands);
        let cluster = Cluster::new(
            ClusterParts {
                store: Arc::clone(&store),
                fanout: Arc::clone(&fanout),
                registry: Arc::clone(&registry),
                sessions: Arc::clone(&sessions),
                instance,
                peers,
                offline_grace,
            },
            PresenceOptions {
                lease: LEASE,
                offline_grace: Duration::ZERO,
            },
        );
        let handlers = peers::Handlers {
            commands: Arc::clone(&commands),
            registry: Arc::clone(&registry),
            cluster: Arc::new(cluster),
            fanout: Arc::clone(&fanout),
        };
        tokio::spawn(peers::serve(events, handlers));
        tokio::spawn(peers::notify_evictions(
            Arc::clone(&store),
            Arc::clone(&fanout),
        ));
        Node {
            incarnation,
            commands,
            fanout,
            registry,
            sessions,
            store,
            time: self.time.clone(),
        }
    }
}

impl Node {
    /// Logs the vehicle `truck` in at this instance.
    pub(super) async fn log_in(&self) -> Vehicle {
        let device_id = truck();
        self.registry.begin_login(&device_id);
        let remote = "192.0.2.1:1".parse().unwrap();
        let login = self
            .store
            .log_in(device_id.clone(), remote, self.time.now());
        let login = self.time.work(login).await;
        let connection = Arc::new(ConnectionHandle::default());
        let logged_in = self
            .sessions
            .finish_login(device_id, login, Arc::clone(&connection))
            .unwrap();
        self.commands
            .send_due(&logged_in.session, logged_in.backlog);
        Vehicle {
            session: logged_in.session,
            connection,
            commands: Arc::clone(&self.commands),
            store: Arc::clone(&self.store),
            registry: Arc::clone(&self.registry),
            time: self.time.clone(),
        }
    }

    /// Requests a command at this instance.
    pub(super) fn request(&self, action: Action, timeout: Duration) -> JoinHandle<CommandOutcome> {
        let commands = Arc::clone(&self.commands);
        let request = CommandRequest {
            device_id: truck(),
            action,
            timeout,
            queue: None,
            key: None,
        };
        tokio::spawn(async move { commands.execute(request).await })
    }

    /// Ends the sessions of another instance, as the membership task does after that instance was declared dead.
    pub(super) async fn end_sessions_of(&self, dead: &Self) {
        let lost = LostSessions::OfIncarnation(dead.incarnation, None);
        let ended = self
            .store
            .end_lost_sessions(vec![truck()], lost, self.time.now());
        self.time.work(ended).await.unwrap();
    }

    /// Every command of the vehicle, newest first.
    pub(super) async fn stored_commands(&self) -> Vec<Command> {
        let page = CommandPage {
            from: None,
            to: None,
            older_than: None,
            limit: 100,
        };
        let device_id = truck();
        let commands = self.store.commands(&device_id, page);
        self.time.work(commands).await.unwrap().unwrap()
    }
}

impl Vehicle {
    /// Waits for the next command on the wire.
    pub(super) async fn receive(&self) -> Action {
        let next = timeout(TIMEOUT * 10, poll_fn(|context| self.poll_command(context)));
        next.await.expect("no command was written")
    }

    /// Asserts that no command was written that the vehicle has not received.
    #[track_caller]
    pub(super) fn assert_nothing_written(&self) {
        let polled = self.poll_command(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "written: {polled:?}");
    }

    /// Polls the events as a real connection does, and returns the next command that may be written.
    fn poll_command(&self, context: &mut Context<'_>) -> Poll<Action> {
        loop {
            match self.connection.poll(context) {
                Poll::Ready(ConnectionEvent::Write(CommandWrite {
                    id,
                    action,
                    deadline,
                })) => {
                    if Instant::now() < deadline && self.session.begin_write(id) {
                        return Poll::Ready(action);
                    }
                }
                Poll::Ready(ConnectionEvent::Close(_)) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Why the connection was asked to close, if it was.
    pub(super) fn closed(&self) -> Option<DisconnectReason> {
        match self.connection.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(ConnectionEvent::Close(reason)) => Some(reason),
            Poll::Ready(ConnectionEvent::Write(_)) | Poll::Pending => None,
        }
    }

    /// Gives this answer to the written command that expects its kind, and waits for the commit.
    pub(super) async fn answer(&self, answer: Answer) {
        let stored = self.commands.answer(&self.session, answer);
        let stored = stored.expect("the session awaits no such answer");
        self.time.work(stored).await.unwrap();
    }

    /// Ends the session as a lost connection does.
    pub(super) async fn disconnect(&self) {
        self.registry.remove(&self.session);
        let SessionKey { device_id, epoch } = self.session.key.clone();
        let end = SessionWrite::End {
            reason: DisconnectReason::ConnectionLost,
            last_heartbeat: None,
            grace: None,
        };
        let key = SessionKey { device_id, epoch };
        let ended = self.store.write(key, self.time.now(), end);
        self.time.work(ended).await.unwrap();
    }
}

fn truck() -> DeviceId {
    DeviceId::parse("truck").unwrap()
}
