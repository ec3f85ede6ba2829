//! The output of a simulation: lines with a time, readable in a terminal and in a pipe.

use std::{
    fmt::Display,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::progress::Progress;

/// The longest excerpt of a sentence that a line shows, in characters.
const SHOWN: usize = 240;

/// The output of a simulation.
pub(super) struct Screen {
    out: Mutex<Box<dyn Write + Send>>,
    /// Whether the last line can be overwritten.
    rewritable: bool,
    /// Cancelled when the output is closed, as by `head`.
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

    /// Shows bytes that the device sent.
    pub(super) fn sent(&self, bytes: &[u8]) {
        self.line("→ ", &shown(bytes));
    }

    /// Shows bytes that the device received.
    pub(super) fn received(&self, bytes: &[u8]) {
        self.line("← ", &shown(bytes));
    }

    /// Shows a note.
    pub(super) fn note(&self, text: &dyn Display) {
        self.line("  ", text);
    }

    /// Shows the progress. On a terminal it overwrites the progress that was shown before.
    pub(super) fn progress(&self, progress: &Progress) {
        if self.rewritable {
            // Without wrapping, because only one row can be overwritten. Some terminals wrap behind the last column.
            let width = columns().map(|columns| columns.saturating_sub(1));
            let text = progress.line(width);
            self.write(format_args!("\r\x1b[2K\x1b[?7l{text}\x1b[?7h"));
        } else {
            self.note(&progress.line(None));
        }
    }

    /// Writes the text as it is.
    pub(super) fn text(&self, text: &str) {
        self.write(format_args!("{text}"));
    }

    /// Whether progress overwrites the progress before.
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

/// A screen on standard output.
pub(super) fn standard_output(stop: CancellationToken) -> Screen {
    let out = io::stdout();
    let rewritable = io::IsTerminal::is_terminal(&out);
    Screen::new(out, rewritable, stop)
}

/// The width of the terminal, if standard output is one that tells it.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The bytes on one line, with escapes for everything that is not printable ASCII.
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
    fn any_bytes_are_shown_on_one_line() {
        assert_eq!(shown(b"HELLO, I'M v!\n"), "HELLO, I'M v!");
        assert_eq!(shown(b"WTF! 3\n\r\x00\xff"), r"WTF! 3\n\r\x00\xff");
        assert_eq!(
            shown(&[b'x'; 1000]),
            format!("{}… (1000 bytes)", "x".repeat(240))
        );
    }

    struct ClosedOutput;

    impl Write for ClosedOutput {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_output_stops_the_simulation() {
        let stop = CancellationToken::new();
        Screen::new(ClosedOutput, false, stop.clone()).note(&"hello?");
        assert!(stop.is_cancelled());
    }
}
