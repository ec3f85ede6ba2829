//! A Galera cluster of `MariaDB` servers: each commit is on all nodes, some of which may not have applied it yet.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{
    change,
    database_server::{mariadb_data, user},
    free_ports::free_ports,
    try_query, wait_until,
};

/// The provider of Galera, where Debian has it.
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";
const NODES: usize = 3;

/// Three running nodes; killed when dropped.
pub(crate) struct GaleraCluster {
    nodes: Vec<Node>,
}

struct Node {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl GaleraCluster {
    pub(crate) fn start() -> Self {
        let groups = [(); NODES].map(|()| free_ports::<1>()[0]);
        let mut nodes = Vec::new();
        for index in 0..NODES {
            let others = groups[..index].iter();
            let others: Vec<String> = others.map(|port| format!("127.0.0.1:{port}")).collect();
            nodes.push(Node::start(index, groups[index], &others.join(",")));
        }
        let cluster = Self { nodes };
        change(&cluster.url(0, "mysql"), "CREATE DATABASE gateway");
        cluster
    }

    /// The URL of a database on a node.
    pub(crate) fn url(&self, node: usize, database: &str) -> String {
        url(self.nodes[node].port, database)
    }
}

impl Node {
    /// Starts a node, which joins the group of `others`, and waits until it has their data.
    fn start(index: usize, group_port: u16, others: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        mariadb_data(&data);
        // Where tests run as root, the data of other nodes arrive as nobody's.
        let opened = Command::new("chmod")
            .args(["-R", "a+rwX"])
            .arg(folder.path())
            .status();
        assert!(opened.unwrap().success());
        let [port, transfer, copy] = free_ports();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("mariadbd")
            .args([
                "--no-defaults",
                "--bind-address=127.0.0.1",
                "--user",
                &user(),
            ])
            .args(["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M"])
            .args(["--binlog-format=ROW", "--innodb-autoinc-lock-mode=2"])
            .args([
                "--wsrep-on=ON",
                "--wsrep-cluster-name=test",
                "--wsrep-sst-method=rsync",
            ])
            .arg(format!("--wsrep-provider={PROVIDER}"))
            .arg(format!("--wsrep-cluster-address=gcomm://{others}"))
            .arg(format!("--wsrep-node-name=node-{index}"))
            .arg(format!("--wsrep-node-address=127.0.0.1:{group_port}"))
            .arg(format!("--wsrep-sst-receive-address=127.0.0.1:{copy}"))
            .arg(format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{group_port};\
                 ist.recv_addr=127.0.0.1:{transfer};gcache.size=32M"
            ))
            .arg(format!("--server-id={}", index + 1))
            .arg(format!("--datadir={}", data.display()))
            .arg(format!(
                "--socket={}",
                folder.path().join("socket").display()
            ))
            .arg(format!(
                "--pid-file={}",
                folder.path().join("pid").display()
            ))
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut node = Self {
            child,
            port,
            folder,
        };
        let state = "SELECT variable_value FROM information_schema.global_status \
                     WHERE variable_name = 'wsrep_local_state_comment'";
        wait_until("the node is synced", || {
            assert!(
                node.child.try_wait().unwrap().is_none(),
                "the node exited: {}",
                node.log()
            );
            let url = url(port, "mysql");
            // A node that is joining accepts connections, and refuses what it is asked.
            try_query(&url, state)
                .is_ok_and(|state| state == ["Synced"])
                .then_some(())
        });
        node
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn url(port: u16, database: &str) -> String {
    format!("mysql://root@127.0.0.1:{port}/{database}")
}
