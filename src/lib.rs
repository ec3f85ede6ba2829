//! One daemon between connected vehicles and the software that runs a fleet.
//!
//! The way of a report: [`domain`] types are made from bytes by `protocol`.
#![cfg_attr(
    test,
    expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")
)]

pub mod domain;
