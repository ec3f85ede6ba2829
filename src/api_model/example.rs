//! Examples for the `OpenAPI` document.

use serde_json::Value;
use uuid::Uuid;

/// The id of a vehicle in examples.
pub(crate) const EXAMPLE_DEVICE_ID: &str = "9180af05-0219-4c88-8a95-3da86b130d43";

/// The id of a command in examples.
pub(crate) const EXAMPLE_COMMAND_ID: Uuid =
    Uuid::from_u128(0x01a2_0654_03ea_7c3e_9b1a_5d0e_8f2a_4c61);

/// A DTO with an example for the `OpenAPI` document.
pub(crate) trait Example {
    /// The example, as JSON.
    fn example() -> Value;
}
