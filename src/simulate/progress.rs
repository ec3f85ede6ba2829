//! The line that shows the progress of a fleet.

/// The fewest characters that a failure is shown in.
const ROOM_FOR_FAILURE: usize = 20;

/// What the line says, in parts, so that it can leave out some where the terminal is narrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    /// How many devices are online.
    pub(super) online: String,
    /// Sentences in a second, the most telling first.
    pub(super) rates: [String; 3],
    /// How often something failed.
    pub(super) trouble: String,
    /// Why the last connection was lost or refused; empty if none was.
    pub(super) last_failure: String,
}

impl Progress {
    /// The line, with at most `width` characters if there is a limit. What is left out first is the end of the last
    /// failure, then the rates from the last one on.
    pub(super) fn line(&self, width: Option<usize>) -> String {
        let mut rates = self.rates.len();
        loop {
            let mut parts = vec![self.online.clone()];
            if rates > 0 {
                parts.push(self.rates[..rates].join(", "));
            }
            parts.push(self.trouble.clone());
            let line = parts.join(" | ");
            match width {
                Some(width) if line.chars().count() > width && rates > 0 => rates -= 1,
                _ => return cut(self.with_failure(line, width), width),
            }
        }
    }

    /// The line with the last failure, if there is one and room for its first words.
    fn with_failure(&self, line: String, width: Option<usize>) -> String {
        let has_room = width.is_none_or(|width| line.chars().count() + ROOM_FOR_FAILURE <= width);
        if self.last_failure.is_empty() || !has_room {
            return line;
        }
        format!("{line} | last: {}", self.last_failure)
    }
}

fn cut(line: String, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            let mut cut: String = line.chars().take(width.saturating_sub(1)).collect();
            if width > 0 {
                cut.push('…');
            }
            cut
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_every_width_and_keeps_what_matters() {
        let progress = Progress {
            online: "online 1000 of 1000".to_owned(),
            rates: ["15.8 PING/s", "18.9 REPORT/s", "0.0 logins/s"].map(str::to_owned),
            trouble: "lost 0, refused 7, bad 0".to_owned(),
            last_failure: "cannot connect: connection refused".to_owned(),
        };
        for width in 0..200 {
            assert!(progress.line(Some(width)).chars().count() <= width);
        }
        let table = [
            (
                200,
                "online 1000 of 1000 | 15.8 PING/s, 18.9 REPORT/s, 0.0 logins/s | lost 0, refused 7, bad 0 \
                 | last: cannot connect: connection refused",
            ),
            (
                110,
                "online 1000 of 1000 | 15.8 PING/s, 18.9 REPORT/s, 0.0 logins/s | lost 0, refused 7, bad 0 | last: cannot conn…",
            ),
            (
                89,
                "online 1000 of 1000 | 15.8 PING/s, 18.9 REPORT/s, 0.0 logins/s | lost 0, refused 7, bad 0",
            ),
            (
                79,
                "online 1000 of 1000 | 15.8 PING/s, 18.9 REPORT/s | lost 0, refused 7, bad 0",
            ),
            (46, "online 1000 of 1000 | lost 0, refused 7, bad 0"),
            (8, "online …"),
            (0, ""),
        ];
        for (width, line) in table {
            assert_eq!(progress.line(Some(width)), line, "{width}");
        }
        assert_eq!(progress.line(None), table[0].1);
    }
}
