//! Why a session ended.

use strum::{Display, EnumString, IntoStaticStr, VariantArray, VariantNames};

/// Why a session ended: logged once when it ends, and stored with the vehicle. Its text is its name in logs, in the
/// database and in REST.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
    VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum DisconnectReason {
    /// The vehicle sent `GOTTA GO.`
    Goodbye,
    /// The vehicle closed its connection without a goodbye.
    ConnectionClosed,
    /// The connection broke: reset, unreachable, or timed out by the operating system.
    ConnectionLost,
    /// No valid sentence came for `device.silence_timeout`.
    Silent,
    /// No login came within `device.login_timeout`.
    LoginTimeout,
    /// The same vehicle logged in again on another connection.
    Superseded,
    /// The vehicle was deleted over REST.
    Deleted,
    /// An operator ended the session with a command: `GOTTA GO.`
    Operator,
    /// The gateway is shutting down.
    Shutdown,
    /// The process that held the session ended without storing its end, or was declared dead by its peers.
    InstanceLost,
    /// The store could not commit in time.
    StoreUnavailable,
    /// Too many bad sentences came in a row.
    TooManyBadSentences,
    /// A debug blob or a JSON object exceeded its cap.
    TooLarge,
    /// The device did not take what the gateway wrote within `device.write_timeout`.
    SlowReader,
    /// The gateway holds as many connections or as many buffered bytes as it may.
    OverCapacity,
    /// A panic occurred while the connection was served.
    InternalError,
}

impl DisconnectReason {
    /// The reason's name in logs, in the database and in REST.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_the_names_of_the_database_and_rest() {
        assert_eq!(
            <DisconnectReason as VariantNames>::VARIANTS.join(" "),
            "goodbye connection-closed connection-lost silent login-timeout superseded deleted operator shutdown \
             instance-lost store-unavailable too-many-bad-sentences too-large slow-reader over-capacity \
             internal-error"
        );
        for reason in <DisconnectReason as VariantArray>::VARIANTS {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
        assert!("gone".parse::<DisconnectReason>().is_err());
    }
}
