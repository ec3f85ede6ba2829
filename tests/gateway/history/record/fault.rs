//! The faults of a run.

use std::fmt;

use super::Moment;

/// A fault that a run can cause. Instances are numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Kill an instance with SIGKILL, and start it again at the end of the fault.
    Kill(usize),
    /// Suspend an instance with SIGSTOP.
    Pause(usize),
    /// Stop an instance gracefully and start it again at once.
    Restart(usize),
    /// Kill Redis, and start it again at the end of the fault.
    RedisDown,
    /// Suspend Redis.
    RedisPause,
    /// Kill the database server, and start it again at the end of the fault.
    DatabaseDown,
    /// Suspend the database server.
    DatabasePause,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(index) => write!(f, "gateway-{} is killed", index + 1),
            Self::Pause(index) => write!(f, "gateway-{} is suspended", index + 1),
            Self::Restart(index) => write!(f, "gateway-{} is restarted", index + 1),
            Self::RedisDown => f.write_str("Redis is down"),
            Self::RedisPause => f.write_str("Redis is suspended"),
            Self::DatabaseDown => f.write_str("the database is down"),
            Self::DatabasePause => f.write_str("the database is suspended"),
        }
    }
}

/// A fault and the time during which it lasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FaultWindow {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
    pub(crate) fault: Fault,
}
