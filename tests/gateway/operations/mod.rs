//! Running the gateway: start and stop, the command line, deployment files, the simulator.

mod certificates;
mod cluster_script;
mod command_line;
mod deployment;
mod disk_space;
mod file_access;
mod health;
mod log;
mod outage_log;
mod panics;
mod shutdown;
mod simulate;
mod startup;
