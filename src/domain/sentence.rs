//! The sentences of the protocol, in both directions.

use bytes::Bytes;

use super::{Action, DeviceId, ReportInterval, VehicleState};

/// A valid sentence of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceSentence {
    /// `HELLO, I'M <device_id>!`: login.
    Hello(DeviceId),
    /// `PING.`: heartbeat.
    Ping,
    /// `REPORT. I'M HERE …`: the periodic report.
    Report(VehicleState),
    /// `FINE. I'M HERE …`: the answer to [`Action::AskState`], or an unsolicited report.
    Fine(VehicleState),
    /// `WTF! <n>` and n bytes: a firmware crash dump.
    DebugBlob(Bytes),
    /// `GOTTA GO.`: the device ends the session.
    Goodbye,
    /// `KEEP ME POSTED EVERY <s> SECONDS.`: the interval at which the device will report.
    KeepMePosted(ReportInterval),
    /// `DONE!`: turned on or off.
    Done,
    /// `I CAN'T, SORRY.`: not turned on or off.
    Cannot,
    /// `SURE, I WILL!`: the interval is accepted.
    SureIWill,
    /// `SEE YA!`: the answer to [`Action::Goodbye`].
    SeeYa,
}

/// A sentence of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewaySentence {
    /// `HI, NICE TO MEET YOU!`: the login is stored.
    Greeting,
    /// `PONG.`
    Pong,
    /// `OK, THANKS!`: the report is stored.
    Thanks,
    /// `DAAAMN! ISSUE REPORTED ON JIRA`: the debug blob is stored.
    BlobReported,
    /// `SEE YA!`: the answer to the device's goodbye.
    SeeYa,
    /// `SURE, I WILL!`: the interval of the device is stored.
    SureIWill,
    /// `SERVER COULD NOT PROCESS THE RECEIVED MESSAGE.`: the sentence was bad.
    Bad,
    /// `I DON'T KNOW YOU!`: another sentence came before the login.
    DontKnowYou,
    /// A command, which the device answers. All others are replies.
    Command(Action),
}

impl GatewaySentence {
    /// Whether it is a command, not a reply.
    #[must_use]
    pub fn is_command(self) -> bool {
        matches!(self, Self::Command(_))
    }
}
