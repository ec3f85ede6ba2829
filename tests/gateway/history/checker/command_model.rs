//! What the protocol and the API say about commands.

/// The kind of reply that a command asks for. A vehicle has at most one outstanding command of each kind.
pub(crate) fn reply_kind(sentence: &str) -> &'static str {
    match sentence {
        "HOW'S IT GOING?" => "FINE",
        "HEY YOU, RUN!" | "HEY YOU, REST!" => "DONE",
        "GOTTA GO." => "SEE YA",
        _ => "SURE",
    }
}

/// Whether this is an end state of a command.
pub(crate) fn is_end_state(state: &str) -> bool {
    !matches!(state, "created" | "queued" | "sent")
}
