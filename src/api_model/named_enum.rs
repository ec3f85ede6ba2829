//! Domain enums in JSON: a value is its name, and each enum has a schema of its own in the `OpenAPI` document.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use strum::VariantNames;

use crate::{
    access::Scope,
    domain::{
        CommandOrigin, CommandState, DisabledReason, DisconnectReason, EventKind, MessageState,
    },
};

/// A domain enum whose values are their names in JSON.
pub(crate) trait ApiEnum: Copy + Into<&'static str> + VariantNames {
    /// The name of its schema, and so of its type in generated clients.
    const SCHEMA: &'static str;
    /// What a value of it is.
    const DESCRIPTION: &'static str;
}

/// A value of a domain enum in a DTO. Its schema is a component, so that a generated client has one type for it wherever
/// it is used, nullable or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named<T>(pub(crate) T);

impl<T: ApiEnum> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.into())
    }
}

impl<T: ApiEnum> JsonSchema for Named<T> {
    fn schema_name() -> Cow<'static, str> {
        T::SCHEMA.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": T::DESCRIPTION, "type": "string", "enum": T::VARIANTS })
    }
}

impl ApiEnum for CommandOrigin {
    const SCHEMA: &'static str = "CommandOrigin";
    const DESCRIPTION: &'static str = "The source of a command.";
}

impl ApiEnum for CommandState {
    const SCHEMA: &'static str = "CommandStatus";
    const DESCRIPTION: &'static str = "The status of a command.";
}

impl ApiEnum for DisconnectReason {
    const SCHEMA: &'static str = "DisconnectReason";
    const DESCRIPTION: &'static str = "Why a session ended.";
}

impl ApiEnum for EventKind {
    const SCHEMA: &'static str = "EventKind";
    const DESCRIPTION: &'static str = "A kind of event.";
}

impl ApiEnum for DisabledReason {
    const SCHEMA: &'static str = "DisabledReason";
    const DESCRIPTION: &'static str = "Why a webhook is disabled.";
}

impl ApiEnum for MessageState {
    const SCHEMA: &'static str = "WebhookMessageStatus";
    const DESCRIPTION: &'static str = "The status of a message to a webhook.";
}

impl ApiEnum for Scope {
    const SCHEMA: &'static str = "Scope";
    const DESCRIPTION: &'static str = "A part of the API that a key may be used for.";
}
