//! The kinds of problem, one row each: name, status, title and default detail.

use axum::http::StatusCode;

/// Makes [`ProblemKind`] from its rows, in the order in which the `OpenAPI` document lists them.
macro_rules! kinds {
    ($($kind:ident => $name:literal, $status:ident, $title:literal, $detail:literal;)*) => {
        /// The kinds of problem. Clients rely on the name and the status of a kind: neither ever changes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum ProblemKind {
            $($kind,)*
        }

        impl ProblemKind {
            /// Every kind.
            pub(crate) const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The last part of [`ProblemKind::type_uri`].
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The HTTP status of a response with this kind.
            pub(crate) fn status(self) -> StatusCode {
                match self {
                    $(Self::$kind => StatusCode::$status,)*
                }
            }

            /// A short name for people, the same for every problem of this kind.
            pub(crate) fn title(self) -> &'static str {
                match self {
                    $(Self::$kind => $title,)*
                }
            }

            /// The default explanation, if no more specific one is known.
            pub(crate) fn detail(self) -> &'static str {
                match self {
                    $(Self::$kind => $detail,)*
                }
            }
        }
    };
}

kinds! {
    InvalidParameter => "invalid-parameter", BAD_REQUEST, "Invalid parameter",
        "A parameter of the path, the query or the headers is not valid.";
    MalformedBody => "malformed-body", BAD_REQUEST, "Malformed body",
        "The body is not valid JSON.";
    Unauthenticated => "unauthenticated", UNAUTHORIZED, "Key required",
        "The request needs a key, in the header Authorization: Bearer vgk_….";
    MissingScope => "missing-scope", FORBIDDEN, "Missing scope",
        "The key does not allow this operation.";
    CrossOrigin => "cross-origin", FORBIDDEN, "Request of another site",
        "The request comes from a web page that is not of this server. Nothing was done.";
    NotFound => "not-found", NOT_FOUND, "No such resource",
        "No resource has this path.";
    UnknownVehicle => "unknown-vehicle", NOT_FOUND, "Unknown vehicle",
        "No vehicle has this id.";
    UnknownDebugBlob => "unknown-debug-blob", NOT_FOUND, "Unknown debug blob",
        "The vehicle has no debug blob with this id.";
    UnknownCommand => "unknown-command", NOT_FOUND, "Unknown command",
        "The vehicle has no command with this id.";
    UnknownWebhook => "unknown-webhook", NOT_FOUND, "Unknown webhook",
        "No webhook has this id.";
    UnknownKey => "unknown-key", NOT_FOUND, "Unknown key",
        "No key in the database has this id.";
    UnknownMessage => "unknown-message", NOT_FOUND, "Unknown message",
        "The webhook has no message with this id, or the message's vehicle was deleted.";
    Draining => "draining", NOT_FOUND, "Draining",
        "The server is shutting down, or is cut off from its database. Send new connections to another server.";
    MethodNotAllowed => "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed",
        "The path does not support this method. The Allow header lists the methods that it supports.";
    BodyTimeout => "body-timeout", REQUEST_TIMEOUT, "Body too slow",
        "The body did not arrive in time.";
    VehicleOffline => "vehicle-offline", CONFLICT, "Vehicle offline",
        "The vehicle is offline. The command was not sent and will not be sent.";
    VehicleRefused => "vehicle-refused", CONFLICT, "Vehicle refused",
        "The vehicle replied that it cannot carry out the command.";
    VehicleDisconnected => "vehicle-disconnected", CONFLICT, "Vehicle disconnected",
        "The command was sent, and the connection ended before the vehicle replied. The vehicle may or may not have carried out the command.";
    CommandSuperseded => "command-superseded", CONFLICT, "Command superseded",
        "A newer command replaced this one. It was not sent and will not be sent.";
    WebhookConfigured => "webhook-configured", CONFLICT, "Webhook configured in the settings file",
        "The webhook is configured in the settings (webhooks.endpoints) and can only be changed there.";
    WebhookDisabled => "webhook-disabled", CONFLICT, "Webhook disabled",
        "The webhook is disabled and receives no messages. Enable it first: PATCH it with enabled: true.";
    TooManyWebhooks => "too-many-webhooks", CONFLICT, "Too many webhooks",
        "The limit of 100 webhooks is reached.";
    KeyExpired => "key-expired", CONFLICT, "Key expired",
        "The key has expired. It cannot be rotated; create a new one.";
    TooManyKeys => "too-many-keys", CONFLICT, "Too many keys",
        "The limit of 1,000 keys is reached. Revoke one that is not used, or rotate one.";
    BodyTooLarge => "body-too-large", PAYLOAD_TOO_LARGE, "Body too large",
        "The body is larger than the limit.";
    UnsupportedMediaType => "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type",
        "The body must be sent as Content-Type: application/json.";
    MisdirectedRequest => "misdirected-request", MISDIRECTED_REQUEST, "Misdirected request",
        "The gateway is not called by the name in Host. If it should be, add the name to http.hosts.";
    InvalidBody => "invalid-body", UNPROCESSABLE_ENTITY, "Invalid body",
        "The body is valid JSON, but not a valid body of this operation.";
    IdempotencyKeyReused => "idempotency-key-reused", UNPROCESSABLE_ENTITY, "Idempotency key reused",
        "A different request for this vehicle used this Idempotency-Key less than 24 hours ago.";
    TooManyWrongKeys => "too-many-wrong-keys", TOO_MANY_REQUESTS, "Too many wrong keys",
        "Too many wrong keys came from this address. Try again with a right one.";
    TooManyCommands => "too-many-commands", TOO_MANY_REQUESTS, "Too many commands",
        "Too many commands are waiting, for this vehicle or on this instance. Try again later.";
    BroadcastUnderWay => "broadcast-under-way", TOO_MANY_REQUESTS, "Broadcast in progress",
        "Another broadcast is in progress. Try again later.";
    Internal => "internal", INTERNAL_SERVER_ERROR, "Internal error",
        "The gateway failed to handle the request. Its log has the details.";
    StoreUnavailable => "store-unavailable", SERVICE_UNAVAILABLE, "Store unavailable",
        "The database did not answer or commit in time. Try again later.";
    FanOutUnavailable => "fan-out-unavailable", SERVICE_UNAVAILABLE, "Fan-out unavailable",
        "The vehicle is connected to another instance, which cannot be reached because Redis is unavailable or not configured. The command was not sent and will not be sent.";
    OwnerUnreachable => "owner-unreachable", SERVICE_UNAVAILABLE, "Owner unreachable",
        "The instance that the vehicle is connected to does not answer. The command was not sent and will not be sent.";
    RequestTimeout => "request-timeout", SERVICE_UNAVAILABLE, "Request timed out",
        "The gateway did not finish the request in time. Try again later.";
    UnreadResponses => "unread-responses", SERVICE_UNAVAILABLE, "Too many unread responses",
        "Clients have not read 64 MiB of earlier responses yet. Try again later.";
    VehicleNoAnswer => "vehicle-no-answer", GATEWAY_TIMEOUT, "Vehicle does not answer",
        "The command was sent, and the vehicle did not reply in time. The vehicle may or may not have carried out the command.";
    CommandExpired => "command-expired", GATEWAY_TIMEOUT, "Command expired",
        "The command expired before it could be sent. It will not be sent.";
}

impl ProblemKind {
    /// The problem type (RFC 9457): a URI that identifies the kind.
    pub(crate) fn type_uri(self) -> String {
        format!("urn:vehicle-gateway:problem:{}", self.name())
    }

    /// Whether the problem is temporary: then the response has a `Retry-After` header.
    pub(crate) fn is_temporary(self) -> bool {
        [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ]
        .contains(&self.status())
    }
}
