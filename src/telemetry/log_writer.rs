//! Writes log lines on a thread of its own, from a bounded buffer.
//!
//! Whoever logs must never wait for the reader of the log: a pipe whose reader hangs would stop every task that logs.
//! So a line is copied into a buffer; without room in it the line is dropped and counted. The thread writes whatever
//! the buffer holds in one call.

use std::{
    io::{self, ErrorKind, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Bytes that may wait to be written: about 5,000 lines.
const BUFFER_BYTES: usize = 1 << 20;
/// The pause before the next attempt on an output that is set to non-blocking and takes nothing at the moment.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A handle to the thread that writes. A write to it is one line; it never waits for the output and never fails.
#[derive(Debug)]
pub(super) struct LogWriter {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    /// Notified when a line comes, and when everything is written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Buffer {
    waiting: Vec<u8>,
    /// Whether the thread is writing what waited before.
    is_writing: bool,
    /// Lines that were dropped or could not be written, since the start.
    lost: u64,
}

impl LogWriter {
    /// Starts the thread, which writes to `output`. When it can write again after lines were lost, it calls
    /// `report_lost` with their number.
    pub(super) fn start(
        output: impl Write + Send + 'static,
        report_lost: impl Fn(u64) + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let writing = Arc::clone(&shared);
        let started = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writing.write_to(output, report_lost));
        if started.is_err() {
            // Without a thread there is no gateway either; its other threads fail with a message of their own.
            shared.lock().lost += 1;
        }
        Self { shared }
    }

    /// Waits until the buffer is written, for at most `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let is_unwritten = |buffer: &mut Buffer| buffer.is_writing || !buffer.waiting.is_empty();
        let waited =
            self.shared
                .changed
                .wait_timeout_while(self.shared.lock(), timeout, is_unwritten);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn lost_lines(&self) -> u64 {
        self.shared.lock().lost
    }
}

impl Write for &LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut buffer = self.shared.lock();
        if buffer.waiting.len() + line.len() <= BUFFER_BYTES {
            buffer.waiting.extend_from_slice(line);
            self.shared.changed.notify_all();
        } else {
            buffer.lost += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// Held while some bytes are copied, never while they are written.
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut output: impl Write, report_lost: impl Fn(u64)) {
        let mut reported = 0;
        let mut lines = Vec::new();
        loop {
            lines.clear();
            self.take(&mut lines);
            let unwritten = write_all(&mut output, &lines);
            let mut buffer = self.lock();
            buffer.lost += unwritten;
            buffer.is_writing = false;
            let lost = buffer.lost;
            drop(buffer);
            self.changed.notify_all();
            if unwritten == 0 && lost > reported {
                report_lost(lost - reported);
                reported = lost;
            }
        }
    }

    /// Waits for lines and moves them to `lines`, which is empty and whose memory is used for the next ones.
    fn take(&self, lines: &mut Vec<u8>) {
        let is_idle = |buffer: &mut Buffer| buffer.waiting.is_empty();
        let waited = self.changed.wait_while(self.lock(), is_idle);
        let mut buffer = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut buffer.waiting, lines);
        buffer.is_writing = true;
    }
}

/// Writes `lines`, and returns how many could not be written.
fn write_all(output: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        match output.write(lines) {
            Ok(0) => return count(lines),
            Ok(written) => lines = &lines[written..],
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
                _ => return count(lines),
            },
        }
    }
    0
}

fn count(lines: &[u8]) -> u64 {
    lines.split_inclusive(|byte| *byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// An output whose writes each wait for their result.
    struct Scripted {
        written: Sender<Vec<u8>>,
        results: Receiver<io::Result<usize>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.send(bytes.to_vec()).unwrap();
            self.results.recv().unwrap_or(Ok(bytes.len()))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Log {
        writer: LogWriter,
        written: Receiver<Vec<u8>>,
        results: Sender<io::Result<usize>>,
        reported: Receiver<u64>,
    }

    fn log() -> Log {
        let (written_to, written) = channel();
        let (results, scripted) = channel();
        let (report, reported) = channel();
        let output = Scripted {
            written: written_to,
            results: scripted,
        };
        let writer = LogWriter::start(output, move |lost| report.send(lost).unwrap());
        Log {
            writer,
            written,
            results,
            reported,
        }
    }

    fn say(mut writer: &LogWriter, line: &str) {
        writer.write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn lines_that_come_during_a_write_are_written_together() {
        let log = log();
        say(&log.writer, "one\n");
        assert_eq!(log.written.recv().unwrap(), b"one\n");
        say(&log.writer, "two\n");
        say(&log.writer, "three\n");
        log.results.send(Ok(4)).unwrap();
        assert_eq!(log.written.recv().unwrap(), b"two\nthree\n");
    }

    #[test]
    fn a_partial_write_is_continued() {
        let log = log();
        say(&log.writer, "line\n");
        assert_eq!(log.written.recv().unwrap(), b"line\n");
        log.results.send(Ok(2)).unwrap();
        assert_eq!(log.written.recv().unwrap(), b"ne\n");
    }

    #[test]
    fn an_output_that_hangs_costs_lines_which_are_reported_later() {
        let log = log();
        say(&log.writer, "first\n");
        log.written.recv().unwrap();
        let line = format!("{}\n", "x".repeat(999));
        for _ in 0..BUFFER_BYTES / 1000 + 3 {
            say(&log.writer, &line);
        }
        assert_eq!(log.writer.lost_lines(), 3);
        log.results.send(Ok(6)).unwrap();
        assert_eq!(log.reported.recv().unwrap(), 3);
    }

    #[test]
    fn a_closed_output_costs_lines_and_nothing_else() {
        let log = log();
        for lost in 1..=2 {
            say(&log.writer, "line\n");
            log.written.recv().unwrap();
            log.results.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
            log.writer.flush(LONG);
            assert_eq!(log.writer.lost_lines(), lost);
        }
        assert!(log.reported.try_recv().is_err(), "reported to nobody");
    }

    #[test]
    fn a_flush_waits_for_what_is_unwritten_and_not_for_ever() {
        let log = log();
        say(&log.writer, "line\n");
        log.written.recv().unwrap();
        log.writer.flush(Duration::from_millis(1));
        log.results.send(Ok(5)).unwrap();
        log.writer.flush(LONG);
        assert!(!log.writer.shared.lock().is_writing);
    }
}
