//! Which failures of an outage are worth a log line: each reason once.

/// Reasons that an outage has at most: some contain a number that differs each time, such as the one of a batch.
const MOST: usize = 5;

/// The reasons of the present outage. The first one often says only that a connection has ended; that the password was
/// changed, or that there is no room for another connection, comes with the attempt to connect again.
#[derive(Debug, Default)]
pub(crate) struct OutageReasons(Vec<String>);

/// What [`OutageReasons::note`] says about a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutageReason {
    /// The outage begins with it.
    First,
    /// The outage has begun with another one.
    Another,
    /// It was noted before in this outage, or is one too many.
    Known,
}

impl OutageReasons {
    /// Notes why something fails.
    pub(crate) fn note(&mut self, reason: &str) -> OutageReason {
        let noted = &mut self.0;
        if noted.len() >= MOST || noted.iter().any(|known| known == reason) {
            return OutageReason::Known;
        }
        noted.push(reason.to_owned());
        if noted.len() == 1 {
            OutageReason::First
        } else {
            OutageReason::Another
        }
    }

    /// Notes that the outage is over.
    pub(crate) fn end(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_of_an_outage_is_new_once() {
        let mut reasons = OutageReasons::default();
        for (reason, noted) in [
            ("closed", OutageReason::First),
            ("closed", OutageReason::Known),
            ("wrong password", OutageReason::Another),
            ("closed", OutageReason::Known),
            ("wrong password", OutageReason::Known),
        ] {
            assert_eq!(reasons.note(reason), noted, "{reason}");
        }
        reasons.end();
        assert_eq!(reasons.note("wrong password"), OutageReason::First);
    }

    #[test]
    fn reasons_that_differ_each_time_end() {
        let mut reasons = OutageReasons::default();
        let new = (0..100).map(|number| reasons.note(&format!("batch {number}")));
        let new = new.filter(|noted| *noted != OutageReason::Known).count();
        assert_eq!(new, MOST);
    }
}
