//! What Redis answers when it refuses: who may read it, and how much of it.

use fred::error::Error;

/// The longest text of an error that is kept, in characters: somebody else may answer in place of Redis.
const MAX_CHARS: usize = 300;

/// Whether Redis itself has answered with an error. By its protocol such an answer begins with a code in capitals, as
/// in `NOPERM User gateway has no permissions to run the 'publish' command`.
pub(super) fn is_refusal(error: &Error) -> bool {
    let code = error.details().split(' ').next().unwrap_or_default();
    code.len() >= 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The text of an error without these secrets, on one line.
///
/// A server that does not know a command repeats its arguments in the error, and cuts them; those of `HELLO` and `AUTH`
/// are the password. So what follows is left out, and not searched for the password only.
pub(super) fn without_secrets<'a>(
    details: &str,
    secrets: impl IntoIterator<Item = &'a str>,
) -> String {
    let (text, _arguments) = details
        .split_once(", with args beginning with")
        .unwrap_or((details, ""));
    let mut text = text.to_owned();
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    let chars = text.chars().take(MAX_CHARS);
    chars
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use fred::error::ErrorKind;

    use super::*;

    #[test]
    fn an_answer_of_redis_begins_with_a_code_in_capitals() {
        for (text, refused) in [
            ("WRONGPASS invalid username-password pair", true),
            ("NOAUTH HELLO must be called with …", true),
            ("NOPERM No permissions to access a channel", true),
            ("ERR max number of clients reached", true),
            ("LOADING Redis is loading the dataset in memory", true),
            ("Connection closed.", false),
            ("Os { code: 111, kind: ConnectionRefused }", false),
            ("Request timed out.", false),
            ("", false),
        ] {
            let error = Error::new(ErrorKind::Unknown, text);
            assert_eq!(is_refusal(&error), refused, "{text}");
        }
    }

    #[test]
    fn a_reason_has_no_password_and_no_second_line() {
        let secrets = || ["open-sesame", ""];
        for (details, reason) in [
            (
                "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'open-ses",
                "ERR unknown command 'HELLO'",
            ),
            ("ERR what does open-sesame mean", "ERR what does *** mean"),
            ("ERR one\r\n\u{1b}[31mtwo", "ERR one   [31mtwo"),
            ("WRONGPASS invalid", "WRONGPASS invalid"),
        ] {
            assert_eq!(without_secrets(details, secrets()), reason);
        }
        let long = without_secrets(&"x".repeat(10_000), secrets());
        assert_eq!(long.len(), MAX_CHARS);
    }
}
