//! Why a key is refused.

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {
    /// No such key is known.
    Unknown,
    /// It has expired.
    Expired,
    /// It was revoked.
    Revoked,
    /// It was replaced by a rotation, and the time in which both were accepted is over.
    Rotated,
}
