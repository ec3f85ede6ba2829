//! Where lines for people go: with the time, and readable also when they are piped.

use std::{
    fmt::Display,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The longest a line shows of what was said, in characters.
const SHOWN: usize = 240;

/// The output of a simulation.
pub(super) struct Screen {
    out: Mutex<Box<dyn Write + Send>>,
    /// Whether the last line may be written over.
    rewritable: bool,
    /// Cancelled when nobody reads any more, as behind `head`.
    stop: CancellationToken,
}

impl Screen {
    /// Writes to `out`, which is a terminal if `rewritable`; cancels `stop` when that fails.
    pub(super) fn new(
        out: impl Write + Send + 'static,
        rewritable: bool,
        stop: CancellationToken,
    ) -> Self {
        Self {
            out: Mutex::new(Box::new(out)),
            rewritable,
            stop,
        }
    }

    /// What the device says.
    pub(super) fn said(&self, bytes: &[u8]) {
        self.line("→ ", &shown(bytes));
    }

    /// What the device hears.
    pub(super) fn heard(&self, bytes: &[u8]) {
        self.line("← ", &shown(bytes));
    }

    /// What happened.
    pub(super) fn note(&self, text: &dyn Display) {
        self.line("  ", text);
    }

    /// How it goes: on a terminal it takes the place of what it last said.
    pub(super) fn progress(&self, text: &str) {
        if self.rewritable {
            // Without wrapping, because only one row can be written over.
            self.write(format_args!("\r\x1b[2K\x1b[?7l{text}\x1b[?7h"));
        } else {
            self.note(&text);
        }
    }

    /// What is written as it is, on lines of its own.
    pub(super) fn text(&self, text: &str) {
        self.write(format_args!("{text}"));
    }

    /// Whether progress takes the place of what it last said.
    pub(super) fn is_rewritable(&self) -> bool {
        self.rewritable
    }

    fn line(&self, mark: &str, text: &dyn Display) {
        let now = jiff::Zoned::now();
        let time = now.strftime("%H:%M:%S%.3f");
        self.write(format_args!("{time} {mark}{text}\n"));
    }

    fn write(&self, text: std::fmt::Arguments<'_>) {
        let mut out = self.lock();
        if out.write_fmt(text).and_then(|()| out.flush()).is_err() {
            self.stop.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Standard output, which is a terminal or not.
pub(super) fn standard_output(stop: CancellationToken) -> Screen {
    let out = io::stdout();
    let rewritable = io::IsTerminal::is_terminal(&out);
    Screen::new(out, rewritable, stop)
}

/// One line for what may be many, or no text at all.
fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.trim_ascii_end();
    let mut text = String::new();
    for &byte in bytes.iter().take(SHOWN) {
        match byte {
            b' '..=b'~' => text.push(byte.into()),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            other => text.extend(['\\', 'x', hex(other >> 4), hex(other & 15)]),
        }
    }
    if bytes.len() > SHOWN {
        return format!("{text}… ({} bytes)", bytes.len());
    }
    text
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap_or('?')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_one_line_whatever_is_in_it() {
        assert_eq!(shown(b"HELLO, I'M v!\n"), "HELLO, I'M v!");
        assert_eq!(shown(b"WTF! 3\n\r\x00\xff"), r"WTF! 3\n\r\x00\xff");
        assert_eq!(
            shown(&[b'x'; 1000]),
            format!("{}… (1000 bytes)", "x".repeat(240))
        );
    }

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_ends_when_nobody_reads() {
        let stop = CancellationToken::new();
        Screen::new(Gone, false, stop.clone()).note(&"hello?");
        assert!(stop.is_cancelled());
    }
}
