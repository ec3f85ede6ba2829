//! Incarnations of the writer: one that was declared dead commits nothing more, and the next begins under a new id.

use std::time::Duration;

use tokio::time::timeout;

use super::{WriterTask, ledger::BatchLedger};
use crate::{
    domain::IncarnationId,
    store::{
        database::{Incarnation, Succession},
        error::CommitError,
        tables::instances::retire,
    },
};

/// How long beginning or retiring an incarnation may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

impl WriterTask {
    /// Begins the next incarnation. The sessions of the last one are lost: their vehicles may be connected to other
    /// instances.
    pub(super) async fn begin_next_incarnation(&mut self) -> Result<(), CommitError> {
        let next = Incarnation {
            id: *self
                .next_incarnation
                .get_or_insert_with(IncarnationId::random),
            name: self.incarnation.name.clone(),
        };
        let begun = timeout(ANSWER_TIMEOUT, self.connection.begin_again(&next)).await;
        match begun.map_err(|_elapsed| CommitError::NoAnswer(ANSWER_TIMEOUT))?? {
            Succession::Begun => self.next_incarnation = None,
            Succession::Over => {
                self.next_incarnation = None;
                return Err(CommitError::SuccessorLost);
            }
            Succession::Taken => {
                self.signals.fenced.cancel();
                return Err(CommitError::NameTaken);
            }
        }
        tracing::error!(was = %self.incarnation.id, id = %next.id, "this instance was declared dead while it could not commit; it closes its connections and goes on under a new id");
        self.signals.incarnation.send_replace(next.id);
        self.incarnation = next;
        self.ledger = BatchLedger::default();
        self.publish_stored();
        self.is_lost = false;
        Ok(())
    }

    /// Marks the incarnation as dead after the last batch, so that peers need not wait for the end of its lease. A
    /// failure is only logged.
    pub(super) async fn retire(&mut self) {
        if !self.signals.is_shared || self.is_lost || self.signals.fenced.is_cancelled() {
            return;
        }
        let retired = async {
            let db = self.connection.get().await?;
            retire(db, self.incarnation.id).await
        };
        match timeout(ANSWER_TIMEOUT, retired).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "not retired; peers will find out that this instance is gone");
            }
            Err(_elapsed) => {
                tracing::debug!("not retired; peers will find out that this instance is gone");
            }
        }
    }
}
