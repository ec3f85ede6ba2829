//! Running the gateway: start and stop, the command line, deployment files, the simulator.

mod deployment;
mod health;
mod simulate;
mod startup;
