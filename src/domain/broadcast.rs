//! What became of one command to all vehicles.

/// How many vehicles a broadcast addressed, and what became of it. The numbers from `done` to `unsent` add up to
/// the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// Vehicles that were connected.
    pub addressed: u64,
    /// Answered yes.
    pub done: u64,
    /// Answered no.
    pub refused: u64,
    /// Were asked, and did not answer in time.
    pub silent: u64,
    /// Were asked, and their session ended before an answer.
    pub disconnected: u64,
    /// Were never asked: gone meanwhile, or too busy with other commands.
    pub unsent: u64,
    /// Instances whose vehicles are not counted, because they did not answer.
    pub unreachable_instances: u64,
}
