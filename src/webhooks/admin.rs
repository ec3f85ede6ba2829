//! Administration of webhook endpoints and their messages, as the API offers it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{DeliveryCounters, Resolver, Secret, SecretError, UrlPolicy, UrlPolicyError};
use crate::{
    domain::{DeviceId, EventKinds, Timestamp},
    store::{
        Endpoint, EndpointPatch, EndpointState, MessagePage, NewEndpoint, RetryProgress, RetryStep,
        SecretText, Store, StoreError, StoredMessage,
    },
};

/// How long the previous secret signs beside a new one.
const SECRET_OVERLAP: Duration = Duration::from_hours(24);

/// An endpoint to create.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointRequest {
    /// See [`Endpoint::url`].
    pub url: String,
    /// See [`Endpoint::events`].
    pub events: EventKinds,
    /// See [`Endpoint::devices`].
    pub devices: Option<BTreeSet<DeviceId>>,
    /// Signs messages; `None` to have one generated.
    pub secret: Option<SecretText>,
    /// See [`Endpoint::ordered`].
    pub ordered: bool,
    /// See [`Endpoint::coalesce`].
    pub coalesce: bool,
}

/// An operation on an endpoint or a message failed.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// There is no endpoint with this id.
    #[error("there is no webhook with this id")]
    Unknown,
    /// There is no message with this id, or its vehicle was deleted.
    #[error("the webhook has no message with this id")]
    UnknownMessage,
    /// The endpoint is defined in the settings.
    #[error(
        "the webhook is defined in the settings (webhooks.endpoints), and can only be changed there"
    )]
    Configured,
    /// The endpoint is disabled.
    #[error("the webhook is disabled")]
    Disabled,
    /// The largest allowed number of endpoints exists already.
    #[error("there are 100 webhooks, which is the highest number")]
    TooMany,
    /// The URL is not allowed.
    #[error(transparent)]
    Url(UrlPolicyError),
    /// The secret is not valid.
    #[error(transparent)]
    Secret(SecretError),
    /// No secret could be generated.
    #[error(transparent)]
    NoSecret(SecretError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a patch changes nothing but whether the endpoint is enabled.
fn only_switches(patch: &EndpointPatch) -> bool {
    let only_switched = EndpointPatch {
        enabled: patch.enabled,
        ..EndpointPatch::default()
    };
    *patch == only_switched
}

/// Creates, changes and inspects webhook endpoints and their messages.
#[derive(Debug)]
pub struct WebhookAdmin {
    store: Arc<Store>,
    policy: UrlPolicy,
    counters: DeliveryCounters,
}

impl WebhookAdmin {
    /// Administers the endpoints in `store`; `policy` applies to the URLs of those that are created or changed here.
    #[must_use]
    pub fn new(store: Arc<Store>, policy: UrlPolicy, counters: DeliveryCounters) -> Self {
        Self {
            store,
            policy,
            counters,
        }
    }

    /// Lists all endpoints, oldest first, with what is pending for each.
    pub async fn endpoints(&self) -> Result<Vec<EndpointState>, StoreError> {
        self.store.endpoint_states().await
    }

    /// Delivery counters since the start of this process.
    #[must_use]
    pub fn counters(&self) -> &DeliveryCounters {
        &self.counters
    }

    /// Age of the oldest pending message of an endpoint; zero if none is pending.
    #[must_use]
    pub fn lag(&self, state: &EndpointState) -> Duration {
        let since = state.oldest_pending;
        since.map_or(Duration::ZERO, |since| self.store.now().since(since))
    }

    /// Returns an endpoint with what is pending for it.
    pub async fn endpoint(&self, id: Uuid) -> Result<EndpointState, EndpointError> {
        let endpoint = self.known_endpoint(id).await?;
        Ok(self.store.endpoint_state(endpoint).await?)
    }

    /// Creates an endpoint. The result holds its secret, which the API shows this once.
    pub async fn create_endpoint(
        &self,
        request: EndpointRequest,
    ) -> Result<Endpoint, EndpointError> {
        let url = self.checked_url(&request.url).await?;
        let secret = match &request.secret {
            Some(SecretText(text)) => Secret::parse(text).map_err(EndpointError::Secret)?,
            None => Secret::generate().map_err(EndpointError::NoSecret)?,
        };
        let new = NewEndpoint {
            id: Uuid::now_v7(),
            url,
            events: request.events,
            devices: request.devices,
            secret: SecretText(secret.to_text()),
            ordered: request.ordered,
            coalesce: request.coalesce,
        };
        let created = self.store.settled(self.store.create_endpoint(new)).await?;
        let created = created.ok_or(EndpointError::TooMany)?;
        tracing::info!(id = %created.id, "webhook created");
        Ok(created)
    }

    /// Changes an endpoint. One that is configured in the settings can only be enabled and disabled.
    pub async fn update_endpoint(
        &self,
        id: Uuid,
        patch: EndpointPatch,
    ) -> Result<EndpointState, EndpointError> {
        let known = self.known_endpoint(id).await?;
        if patch == EndpointPatch::default() {
            return Ok(self.store.endpoint_state(known).await?);
        }
        if known.configured && !only_switches(&patch) {
            return Err(EndpointError::Configured);
        }
        let url = match &patch.url {
            Some(url) => Some(self.checked_url(url).await?),
            None => None,
        };
        let patch = EndpointPatch { url, ..patch };
        let changed = self
            .store
            .settled(self.store.change_endpoint(id, patch))
            .await?;
        let changed = changed.ok_or(EndpointError::Unknown)?;
        Ok(self.store.endpoint_state(changed).await?)
    }

    /// Generates a new secret, which the API shows this once. For a day the previous one signs messages as well.
    pub async fn rotate_secret(&self, id: Uuid) -> Result<Endpoint, EndpointError> {
        if self.known_endpoint(id).await?.configured {
            return Err(EndpointError::Configured);
        }
        let secret = Secret::generate().map_err(EndpointError::NoSecret)?;
        let secret = SecretText(secret.to_text());
        let write = self
            .store
            .rotate_endpoint_secret(id, secret, SECRET_OVERLAP);
        self.store
            .settled(write)
            .await?
            .ok_or(EndpointError::Unknown)
    }

    /// Deletes an endpoint and its messages.
    pub async fn delete_endpoint(&self, id: Uuid) -> Result<(), EndpointError> {
        if self.known_endpoint(id).await?.configured {
            return Err(EndpointError::Configured);
        }
        let deleted = self.store.settled(self.store.delete_endpoint(id)).await?;
        if !deleted {
            return Err(EndpointError::Unknown);
        }
        tracing::info!(%id, "webhook deleted");
        Ok(())
    }

    /// Queues a `webhook.test` message, which belongs to no vehicle, and returns it.
    pub async fn test_endpoint(&self, id: Uuid) -> Result<StoredMessage, EndpointError> {
        self.known_endpoint(id).await?;
        let sent = self.store.settled(self.store.send_test_message(id)).await?;
        let sent = sent.ok_or(EndpointError::Disabled)?;
        self.message(id, sent).await
    }

    /// Lists messages of an endpoint, newest first.
    pub async fn messages(
        &self,
        endpoint_id: Uuid,
        page: MessagePage,
    ) -> Result<Vec<StoredMessage>, EndpointError> {
        self.known_endpoint(endpoint_id).await?;
        Ok(self.store.messages(endpoint_id, page).await?)
    }

    /// Returns a message of an endpoint.
    pub async fn message(
        &self,
        endpoint_id: Uuid,
        id: Uuid,
    ) -> Result<StoredMessage, EndpointError> {
        let message = self.store.message(endpoint_id, id).await?;
        message.ok_or(EndpointError::UnknownMessage)
    }

    /// Makes a message due now, whether it is pending, delivered or failed, and returns it.
    pub async fn retry_message(
        &self,
        endpoint_id: Uuid,
        id: Uuid,
    ) -> Result<StoredMessage, EndpointError> {
        self.known_endpoint(endpoint_id).await?;
        let retried = self
            .store
            .settled(self.store.retry_message(endpoint_id, id));
        if !retried.await? {
            return Err(EndpointError::UnknownMessage);
        }
        self.message(endpoint_id, id).await
    }

    /// Makes all messages due that failed at `since` or later, and returns their number.
    pub async fn retry_failed_messages(
        &self,
        endpoint_id: Uuid,
        since: Timestamp,
    ) -> Result<u64, EndpointError> {
        self.known_endpoint(endpoint_id).await?;
        let until = self.store.now();
        let (mut all, mut after) = (0, None);
        loop {
            let step = RetryStep {
                since,
                until,
                after,
            };
            let some = self.store.retry_failed_messages(endpoint_id, step);
            let RetryProgress { messages, last } = self.store.settled(some).await?;
            all += messages;
            if last.is_none() {
                return Ok(all);
            }
            after = last;
        }
    }

    async fn known_endpoint(&self, id: Uuid) -> Result<Endpoint, EndpointError> {
        let known = self.store.endpoint(id).await?;
        known.ok_or(EndpointError::Unknown)
    }

    /// Applies the URL policy and returns the normalized URL. A host name that does not resolve yet is accepted.
    async fn checked_url(&self, url: &str) -> Result<String, EndpointError> {
        let url = self.policy.check(url).map_err(EndpointError::Url)?;
        let checked = url.check_host(&Resolver::system()).await;
        checked.map_err(EndpointError::Url)?;
        Ok(url.as_str().to_owned())
    }
}
