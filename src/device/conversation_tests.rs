//! Unit tests of the conversation, sentence by sentence.

use super::*;
use crate::domain::{Battery, Degrees, Running};

fn id(name: &str) -> DeviceId {
    DeviceId::parse(name).unwrap()
}

fn says(sentence: DeviceSentence) -> DeviceMessage {
    DeviceMessage::from(sentence)
}

fn says_as(sentence: DeviceSentence, client_id: &str) -> DeviceMessage {
    DeviceMessage {
        client_id: Some(id(client_id)),
        ..DeviceMessage::from(sentence)
    }
}

fn state() -> VehicleState {
    VehicleState {
        latitude: Degrees::from_f64(1.0).unwrap(),
        longitude: Degrees::from_f64(2.0).unwrap(),
        running: Running::Resting,
        battery: Battery::new(3).unwrap(),
    }
}

fn anonymous() -> Conversation {
    Conversation::new(3)
}

fn vehicle() -> Conversation {
    let mut conversation = anonymous();
    let Reaction::LogIn(_) = conversation.on_message(says(DeviceSentence::Hello(id("truck"))))
    else {
        panic!("HELLO is a login");
    };
    conversation.logged_in(id("truck"));
    conversation
}

const BAD: Reaction = Reaction::Reply(GatewaySentence::Bad);

#[test]
fn hello_or_a_first_message_with_a_client_id_logs_in() {
    let hello = anonymous().on_message(says(DeviceSentence::Hello(id("truck"))));
    let device_id = id("truck");
    assert_eq!(
        hello,
        Reaction::LogIn(Box::new(LoginRequest {
            device_id,
            first_message: None
        }))
    );
    for sentence in [
        DeviceSentence::Ping,
        DeviceSentence::Report(state()),
        DeviceSentence::Fine(state()),
        DeviceSentence::DebugBlob(Bytes::new()),
        DeviceSentence::KeepMePosted(ReportInterval::new(10).unwrap()),
    ] {
        let message = says_as(sentence, "truck");
        let reaction = anonymous().on_message(message.clone());
        let (device_id, first_message) = (id("truck"), Some(message));
        assert_eq!(
            reaction,
            Reaction::LogIn(Box::new(LoginRequest {
                device_id,
                first_message
            }))
        );
    }
}

#[test]
fn answers_and_goodbyes_before_the_login_do_not_log_in() {
    for sentence in [
        DeviceSentence::Done,
        DeviceSentence::Cannot,
        DeviceSentence::SureIWill,
        DeviceSentence::SeeYa,
    ] {
        let reaction = anonymous().on_message(says_as(sentence, "truck"));
        assert_eq!(reaction, Reaction::Reply(GatewaySentence::DontKnowYou));
    }
    let fine = DeviceMessage {
        is_reply: Some(true),
        ..says_as(DeviceSentence::Fine(state()), "truck")
    };
    assert_eq!(
        anonymous().on_message(fine),
        Reaction::Reply(GatewaySentence::DontKnowYou)
    );
    let goodbye = anonymous().on_message(says_as(DeviceSentence::Goodbye, "truck"));
    assert_eq!(
        goodbye,
        Reaction::ReplyAndClose(GatewaySentence::SeeYa, DisconnectReason::Goodbye)
    );
}

#[test]
fn nothing_is_accepted_while_a_login_is_pending() {
    let mut conversation = anonymous();
    conversation.on_message(says(DeviceSentence::Hello(id("truck"))));
    assert_eq!(conversation.on_message(says(DeviceSentence::Ping)), BAD);
}

#[test]
fn a_vehicle_cannot_use_the_id_of_another() {
    let mut conversation = vehicle();
    assert_eq!(
        conversation.on_message(says_as(DeviceSentence::Ping, "other")),
        BAD
    );
    assert_eq!(
        conversation.on_message(says(DeviceSentence::Hello(id("other")))),
        BAD
    );
    let ping = conversation.on_message(says_as(DeviceSentence::Ping, "truck"));
    assert_eq!(ping, Reaction::Heartbeat(GatewaySentence::Pong));
}

#[test]
fn too_many_bad_sentences_in_a_row_end_the_conversation() {
    let mut conversation = vehicle();
    assert_eq!(conversation.on_bad_input(), BAD);
    assert_eq!(conversation.on_bad_input(), BAD);
    let done = conversation.on_message(says(DeviceSentence::Done));
    assert_eq!(done, answer(Answer::Done));
    assert_eq!(conversation.on_bad_input(), BAD);
    assert_eq!(
        conversation.on_message(says_as(DeviceSentence::Ping, "other")),
        BAD
    );
    let last = conversation.on_bad_input();
    assert_eq!(
        last,
        Reaction::ReplyAndClose(GatewaySentence::Bad, DisconnectReason::TooManyBadSentences)
    );

    let mut conversation = anonymous();
    conversation.on_message(says(DeviceSentence::Ping));
    conversation.on_message(says(DeviceSentence::Ping));
    let last = conversation.on_message(says(DeviceSentence::Ping));
    let reason = DisconnectReason::TooManyBadSentences;
    assert_eq!(
        last,
        Reaction::ReplyAndClose(GatewaySentence::DontKnowYou, reason)
    );
}

#[test]
fn each_stored_sentence_has_its_own_reply() {
    let mut conversation = vehicle();
    let interval = ReportInterval::new(0).unwrap();
    for (sentence, record, answer) in [
        (
            DeviceSentence::Report(state()),
            Record::Report(state()),
            GatewaySentence::Thanks,
        ),
        (
            DeviceSentence::DebugBlob(Bytes::from_static(b"dump")),
            Record::DebugBlob(Bytes::from_static(b"dump")),
            GatewaySentence::BlobReported,
        ),
        (
            DeviceSentence::KeepMePosted(interval),
            Record::KeepMePosted(interval),
            GatewaySentence::SureIWill,
        ),
    ] {
        assert_eq!(
            conversation.on_message(says(sentence)),
            Reaction::Store(record, Some(answer))
        );
    }
}

#[test]
fn a_fine_is_an_answer_unless_its_envelope_is_a_message() {
    let fine = |is_reply| DeviceMessage {
        is_reply,
        ..says(DeviceSentence::Fine(state()))
    };
    let mut conversation = vehicle();
    let report = Reaction::Store(Record::Report(state()), Some(GatewaySentence::Thanks));
    assert_eq!(conversation.on_message(fine(Some(false))), report);
    for (is_reply, thank_if_unsolicited) in [(None, true), (Some(true), false)] {
        let reaction = Reaction::Answer {
            answer: Answer::Fine(state()),
            thank_if_unsolicited,
        };
        assert_eq!(conversation.on_message(fine(is_reply)), reaction);
    }
}
