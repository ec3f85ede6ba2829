//! The kinds of error that callers can tell apart: one row for each, with all that is fixed about it.

use axum::http::StatusCode;

/// Makes [`Kind`] from its rows, which is also the order in which the document lists them.
macro_rules! kinds {
    ($($kind:ident => $name:literal, $status:ident, $title:literal, $detail:literal;)*) => {
        /// The kinds of error there are. Each has one name and one status, for good.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Kind {
            $($kind,)*
        }

        impl Kind {
            pub(super) const ALL: &[Self] = &[$(Self::$kind,)*];

            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            pub(super) fn status(self) -> StatusCode {
                match self {
                    $(Self::$kind => StatusCode::$status,)*
                }
            }

            pub(super) fn title(self) -> &'static str {
                match self {
                    $(Self::$kind => $title,)*
                }
            }

            /// What a caller is told when nothing more particular is known.
            pub(super) fn detail(self) -> &'static str {
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
    NotFound => "not-found", NOT_FOUND, "No such resource",
        "Nothing is served under this path.";
    UnknownVehicle => "unknown-vehicle", NOT_FOUND, "Unknown vehicle",
        "There is no vehicle with this id.";
    UnknownDebugBlob => "unknown-debug-blob", NOT_FOUND, "Unknown debug blob",
        "The vehicle has no debug blob with this id.";
    UnknownCommand => "unknown-command", NOT_FOUND, "Unknown command",
        "The vehicle has no command with this id.";
    UnknownWebhook => "unknown-webhook", NOT_FOUND, "Unknown webhook",
        "There is no webhook with this id.";
    UnknownMessage => "unknown-message", NOT_FOUND, "Unknown message",
        "The webhook has no message with this id, or its vehicle was deleted.";
    Draining => "draining", NOT_FOUND, "Draining",
        "The server is about to stop: send new connections to another one.";
    MethodNotAllowed => "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed",
        "This path does not support the method; the Allow header lists those it does.";
    BodyTimeout => "body-timeout", REQUEST_TIMEOUT, "Body too slow",
        "The body did not arrive in time.";
    VehicleOffline => "vehicle-offline", CONFLICT, "Vehicle offline",
        "The vehicle is offline. The command was not sent and will not be.";
    VehicleRefused => "vehicle-refused", CONFLICT, "Vehicle refused",
        "The vehicle answered that it cannot do it.";
    VehicleDisconnected => "vehicle-disconnected", CONFLICT, "Vehicle disconnected",
        "The command was sent, and the connection ended before an answer: the vehicle may or may not have done it.";
    CommandSuperseded => "command-superseded", CONFLICT, "Command superseded",
        "A newer command took the place of this one. It was not sent and will not be.";
    WebhookConfigured => "webhook-configured", CONFLICT, "Webhook of the settings",
        "The webhook is one of the settings (webhooks.endpoints), and is changed there.";
    WebhookDisabled => "webhook-disabled", CONFLICT, "Webhook disabled",
        "The webhook is disabled and gets nothing. PATCH it with enabled: true first.";
    TooManyWebhooks => "too-many-webhooks", CONFLICT, "Too many webhooks",
        "There are 100 webhooks, and there can be no more.";
    BodyTooLarge => "body-too-large", PAYLOAD_TOO_LARGE, "Body too large",
        "The body is larger than the gateway takes.";
    UnsupportedMediaType => "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type",
        "The body must be sent as Content-Type: application/json.";
    InvalidBody => "invalid-body", UNPROCESSABLE_ENTITY, "Invalid body",
        "The body is valid JSON, but not what this operation takes.";
    IdempotencyKeyReused => "idempotency-key-reused", UNPROCESSABLE_ENTITY, "Idempotency key reused",
        "The vehicle was sent another request with this Idempotency-Key less than 24 hours ago.";
    TooManyCommands => "too-many-commands", TOO_MANY_REQUESTS, "Too many commands",
        "Too many commands wait for this vehicle. Try again later.";
    BroadcastUnderWay => "broadcast-under-way", TOO_MANY_REQUESTS, "Broadcast under way",
        "Another broadcast has not ended yet. Try again later.";
    Internal => "internal", INTERNAL_SERVER_ERROR, "Internal error",
        "The gateway failed to handle the request. Its log says more.";
    StoreUnavailable => "store-unavailable", SERVICE_UNAVAILABLE, "Store unavailable",
        "The database does not answer or could not commit in time. Try again later.";
    FanOutUnavailable => "fan-out-unavailable", SERVICE_UNAVAILABLE, "Fan-out unavailable",
        "The vehicle is connected to another instance, and instances cannot reach each other: Redis is away or not configured. The command was not sent and will not be.";
    OwnerUnreachable => "owner-unreachable", SERVICE_UNAVAILABLE, "Owner unreachable",
        "The instance that the vehicle is connected to does not answer. The command was not sent and will not be.";
    RequestTimeout => "request-timeout", SERVICE_UNAVAILABLE, "Request timed out",
        "The gateway could not finish the request in time. Try again later.";
    VehicleNoAnswer => "vehicle-no-answer", GATEWAY_TIMEOUT, "Vehicle does not answer",
        "The command was sent, and the vehicle did not answer in time: it may or may not have done it.";
    CommandExpired => "command-expired", GATEWAY_TIMEOUT, "Command expired",
        "The command could not be sent before its time was over. It will not be sent any more.";
}

impl Kind {
    pub(super) fn type_uri(self) -> String {
        format!("urn:vehicle-gateway:problem:{}", self.name())
    }

    /// Whether it passes by itself: then a caller is told when to try again.
    pub(super) fn passes(self) -> bool {
        [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ]
        .contains(&self.status())
    }
}
