use std::time::Duration;

use sea_orm::DbErr;

use super::KEY_BYTES;
use crate::{
    access::{ApiKey, KeyHash, KeyId},
    store::{
        PendingWrite, Store,
        tables::api_keys,
        write_request::{BatchTransaction, Phase, WriteRequest},
    },
};

struct RotateKey {
    id: KeyId,
    hash: KeyHash,
    overlap: Duration,
}

/// What became of a rotation.
#[derive(Debug)]
pub enum KeyRotation {
    /// The key has a new secret.
    Rotated(Box<ApiKey>),
    /// The key has expired, and stays so.
    Expired,
    /// There is no key with this id that is not revoked.
    Unknown,
}

impl WriteRequest for RotateKey {
    type Output = KeyRotation;

    const PHASE: Option<Phase> = Some(Phase::Administration);

    fn is_urgent(&self) -> bool {
        true
    }

    fn payload_bytes(&self) -> usize {
        KEY_BYTES
    }

    async fn execute(
        &self,
        transaction: &mut BatchTransaction<'_>,
    ) -> Result<Option<KeyRotation>, DbErr> {
        let now = transaction.now;
        let mut is_rotated = false;
        let key = api_keys::change(transaction.db, &self.id, |key| {
            is_rotated = key.rotate(self.hash, self.overlap, now);
            is_rotated
        });
        Ok(Some(match key.await? {
            Some(key) if is_rotated => KeyRotation::Rotated(Box::new(key)),
            Some(key) if key.revoked_at.is_none() => KeyRotation::Expired,
            _ => KeyRotation::Unknown,
        }))
    }
}

impl Store {
    /// Gives a key a new secret; the one before is accepted for `overlap` as well.
    pub fn rotate_key(
        &self,
        id: KeyId,
        hash: KeyHash,
        overlap: Duration,
    ) -> PendingWrite<KeyRotation> {
        self.writes.submit(RotateKey { id, hash, overlap })
    }
}
