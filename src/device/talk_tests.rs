//! The conversation, sentence by sentence.

use super::*;
use crate::domain::{Battery, Degrees, Running};

fn id(name: &str) -> DeviceId {
    DeviceId::parse(name).unwrap()
}

fn says(sentence: DeviceSentence) -> Message {
    Message::from(sentence)
}

fn says_as(sentence: DeviceSentence, client_id: &str) -> Message {
    Message {
        client_id: Some(id(client_id)),
        ..Message::from(sentence)
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

fn stranger() -> Talk {
    Talk::new(3)
}

fn vehicle() -> Talk {
    let mut talk = stranger();
    let Step::LogIn(_) = talk.on_message(says(DeviceSentence::Hello(id("truck")))) else {
        panic!("a stranger's hello is a login");
    };
    talk.logged_in(id("truck"));
    talk
}

const BAD: Step = Step::Say(GatewaySentence::Bad);

#[test]
fn a_stranger_logs_in_by_hello_or_by_client_id_with_whatever_a_device_opens() {
    let hello = stranger().on_message(says(DeviceSentence::Hello(id("truck"))));
    let device_id = id("truck");
    assert_eq!(
        hello,
        Step::LogIn(Box::new(LogIn {
            device_id,
            then: None
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
        let step = stranger().on_message(message.clone());
        let (device_id, then) = (id("truck"), Some(message));
        assert_eq!(step, Step::LogIn(Box::new(LogIn { device_id, then })));
    }
}

#[test]
fn answers_and_a_goodbye_of_a_stranger_do_not_log_in() {
    for sentence in [
        DeviceSentence::Done,
        DeviceSentence::Cannot,
        DeviceSentence::SureIWill,
        DeviceSentence::SeeYa,
    ] {
        let step = stranger().on_message(says_as(sentence, "truck"));
        assert_eq!(step, Step::Say(GatewaySentence::DontKnowYou));
    }
    let fine = Message {
        is_reply: Some(true),
        ..says_as(DeviceSentence::Fine(state()), "truck")
    };
    assert_eq!(
        stranger().on_message(fine),
        Step::Say(GatewaySentence::DontKnowYou)
    );
    let goodbye = stranger().on_message(says_as(DeviceSentence::Goodbye, "truck"));
    assert_eq!(
        goodbye,
        Step::Part(GatewaySentence::SeeYa, DisconnectReason::Goodbye)
    );
}

#[test]
fn while_a_login_is_on_its_way_nothing_else_is_understood() {
    let mut talk = stranger();
    talk.on_message(says(DeviceSentence::Hello(id("truck"))));
    assert_eq!(talk.on_message(says(DeviceSentence::Ping)), BAD);
}

#[test]
fn a_vehicle_cannot_speak_as_another() {
    let mut talk = vehicle();
    assert_eq!(talk.on_message(says_as(DeviceSentence::Ping, "other")), BAD);
    assert_eq!(
        talk.on_message(says(DeviceSentence::Hello(id("other")))),
        BAD
    );
    let ping = talk.on_message(says_as(DeviceSentence::Ping, "truck"));
    assert_eq!(ping, Step::Heartbeat(GatewaySentence::Pong));
}

#[test]
fn the_last_bad_sentence_in_a_row_that_is_allowed_ends_the_conversation_whatever_it_was() {
    let mut talk = vehicle();
    assert_eq!(talk.on_bad(), BAD);
    assert_eq!(talk.on_bad(), BAD);
    let done = talk.on_message(says(DeviceSentence::Done));
    assert_eq!(done, answer(Answer::Done));
    assert_eq!(talk.on_bad(), BAD);
    assert_eq!(talk.on_message(says_as(DeviceSentence::Ping, "other")), BAD);
    let last = talk.on_bad();
    assert_eq!(
        last,
        Step::Part(GatewaySentence::Bad, DisconnectReason::TooManyBadSentences)
    );

    let mut talk = stranger();
    talk.on_message(says(DeviceSentence::Ping));
    talk.on_message(says(DeviceSentence::Ping));
    let last = talk.on_message(says(DeviceSentence::Ping));
    let reason = DisconnectReason::TooManyBadSentences;
    assert_eq!(last, Step::Part(GatewaySentence::DontKnowYou, reason));
}

#[test]
fn what_is_stored_is_answered_with_the_sentence_that_belongs_to_it() {
    let mut talk = vehicle();
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
            talk.on_message(says(sentence)),
            Step::Store(record, Some(answer))
        );
    }
}

#[test]
fn a_fine_is_an_answer_unless_its_envelope_calls_it_a_message_and_then_it_is_a_report() {
    let fine = |is_reply| Message {
        is_reply,
        ..says(DeviceSentence::Fine(state()))
    };
    let mut talk = vehicle();
    let report = Step::Store(Record::Report(state()), Some(GatewaySentence::Thanks));
    assert_eq!(talk.on_message(fine(Some(false))), report);
    for (is_reply, thanked_if_unasked) in [(None, true), (Some(true), false)] {
        let step = Step::Answer {
            answer: Answer::Fine(state()),
            thanked_if_unasked,
        };
        assert_eq!(talk.on_message(fine(is_reply)), step);
    }
}
