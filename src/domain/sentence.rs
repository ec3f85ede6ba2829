//! What vehicles and the gateway say to each other.

use bytes::Bytes;

use super::{Action, DeviceId, ReportInterval, VehicleState};

/// A sentence that a device says, whole and in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceSentence {
    /// `HELLO, I'M <device_id>!`: login.
    Hello(DeviceId),
    /// `PING.`: heartbeat.
    Ping,
    /// `REPORT. I'M HERE …`: the periodic report.
    Report(VehicleState),
    /// `FINE. I'M HERE …`: the answer to [`Action::AskState`], or a report when unasked.
    Fine(VehicleState),
    /// `WTF! <n>` and n bytes: a firmware crash dump.
    DebugBlob(Bytes),
    /// `GOTTA GO.`: the device ends the session.
    Goodbye,
    /// `KEEP ME POSTED EVERY <s> SECONDS.`: the interval at which the device reports.
    KeepMePosted(ReportInterval),
    /// `DONE!`: turned on or off as asked.
    Done,
    /// `I CAN'T, SORRY.`: not turned on or off.
    Cannot,
    /// `SURE, I WILL!`: the interval was taken over.
    SureIWill,
    /// `SEE YA!`: the answer to [`Action::Goodbye`].
    SeeYa,
}

/// A sentence that the gateway says.
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
    /// `SURE, I WILL!`: the interval that the device named is recorded.
    SureIWill,
    /// `SERVER COULD NOT PROCESS THE RECEIVED MESSAGE.`
    Bad,
    /// `I DON'T KNOW YOU!`: something other than a login came before the login.
    DontKnowYou,
    /// The gateway opens an exchange; everything above answers in one.
    Command(Action),
}

impl GatewaySentence {
    /// Whether the gateway opens this exchange (a command) rather than answers in one (a reply).
    #[must_use]
    pub fn is_command(self) -> bool {
        matches!(self, Self::Command(_))
    }
}
