//! The result of one command to all connected vehicles.

/// The result of a broadcast as counts of vehicles. `done` to `unsent` add up to `addressed`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// Vehicles that were connected.
    pub addressed: u64,
    /// Vehicles that answered yes.
    pub done: u64,
    /// Vehicles that answered no.
    pub refused: u64,
    /// Vehicles that got the command and did not answer in time.
    pub silent: u64,
    /// Vehicles that got the command, but their session ended before an answer.
    pub disconnected: u64,
    /// Vehicles that never got the command: disconnected meanwhile, or busy with other commands.
    pub unsent: u64,
    /// Instances that did not answer. Their vehicles are not counted.
    pub unreachable_instances: u64,
}
