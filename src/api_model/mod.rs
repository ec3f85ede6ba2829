//! The JSON of vehicles and commands, which the REST API and the webhooks share.
//!
//! Data transfer objects (DTOs) are made from domain types. A DTO whose plain name belongs to the domain ends in `Dto`;
//! its schema in the `OpenAPI` document keeps the plain name. Keys are in camelCase and always present: null where
//! a value is unknown.

mod command;
mod example;
mod named_enum;
mod schema;
mod vehicle;

pub(crate) use command::CommandDto;
pub(crate) use example::{EXAMPLE_COMMAND_ID, EXAMPLE_DEVICE_ID, Example};
pub(crate) use named_enum::Named;
pub(crate) use schema::{
    Rfc3339, device_id_field, device_id_schema, every_key_present, optional_device_id,
};
pub(crate) use vehicle::VehicleDto;
