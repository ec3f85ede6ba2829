//! What is kept of a request that changed something.

use uuid::Uuid;

use super::KeyId;
use crate::domain::{DeviceId, Timestamp};

/// A request that changed something or spoke to a vehicle, or tried to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its id: ids ascend with the time at which requests ended.
    pub id: Uuid,
    /// When the request ended.
    pub at: Timestamp,
    /// The id of its key; `None` for a key of the settings, and if no key was needed.
    pub key_id: Option<KeyId>,
    /// The name of its key; `None` if no key was needed.
    pub key_name: Option<String>,
    /// The address that it came from.
    pub address: String,
    /// The id of its operation.
    pub operation: String,
    /// Its method.
    pub method: String,
    /// Its path without the query, or the path of what it created; at most 255 characters.
    pub path: String,
    /// The vehicle that it was about.
    pub device_id: Option<DeviceId>,
    /// The status of the response; `None` if the client was gone before there was one.
    pub status: Option<u16>,
    /// The kind of problem, if the response is one.
    pub problem: Option<String>,
    /// The id of the request, which the client gave or got.
    pub request_id: String,
}
