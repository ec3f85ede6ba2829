//! The invariants, one file each.

pub(super) mod acknowledged_data;
pub(super) mod command_lifecycle;
pub(super) mod command_replies;
pub(super) mod consecutive_epochs;
pub(super) mod deletion;
pub(super) mod error_responses;
pub(super) mod fenced_writes;
pub(super) mod grace_period;
pub(super) mod online_vehicles;
pub(super) mod queued_commands;
pub(super) mod response_time;
pub(super) mod webhook_deliveries;
