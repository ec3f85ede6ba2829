//! Administration of webhook endpoints and their messages, as the API offers it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{Counts, Lookup, Rules, Secret, SecretError, TargetError, check};
use crate::{
    domain::{DeviceId, EventKinds, Timestamp},
    store::{
        Endpoint, EndpointChange, EndpointState, Message, MessagePage, NewEndpoint, Retried,
        RetryStep, SecretText, Store, StoreError,
    },
};

/// How long the previous secret signs beside a new one.
const OVERLAP: Duration = Duration::from_hours(24);

/// What is asked for with a new endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointRequest {
    /// Where messages go.
    pub url: String,
    /// What it is told of.
    pub events: EventKinds,
    /// Of which vehicles; of all if none are named.
    pub devices: Option<BTreeSet<DeviceId>>,
    /// Signs its messages; one is drawn if there is none.
    pub secret: Option<SecretText>,
    /// Whether messages of one vehicle wait for one another.
    pub ordered: bool,
    /// Whether changes that were not sent yet become one message.
    pub coalesce: bool,
}

/// What is asked for with an endpoint that is there; none stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointUpdate {
    /// Where messages go.
    pub url: Option<String>,
    /// What it is told of.
    pub events: Option<EventKinds>,
    /// Of which vehicles; `Some(None)`: of all.
    pub devices: Option<Option<BTreeSet<DeviceId>>>,
    /// Whether messages of one vehicle wait for one another.
    pub ordered: Option<bool>,
    /// Whether changes that were not sent yet become one message.
    pub coalesce: Option<bool>,
    /// Whether it gets anything.
    pub enabled: Option<bool>,
}

impl EndpointUpdate {
    /// Whether it changes more than whether the endpoint gets anything.
    fn is_of_settings(&self) -> bool {
        let only_switched = Self {
            enabled: self.enabled,
            ..Self::default()
        };
        *self != only_switched
    }
}

/// Why an endpoint is not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// There is no endpoint with this id.
    #[error("there is no webhook with this id")]
    Unknown,
    /// There is no message with this id, or its vehicle was deleted.
    #[error("the webhook has no message with this id")]
    UnknownMessage,
    /// It is one of the settings.
    #[error("the webhook is one of the settings (webhooks.endpoints), and is changed there")]
    Configured,
    /// It gets nothing.
    #[error("the webhook is disabled")]
    Disabled,
    /// There are as many as there can be.
    #[error("there can be 100 webhooks")]
    TooMany,
    /// It must not go there.
    #[error(transparent)]
    Target(TargetError),
    /// The secret will not do.
    #[error(transparent)]
    Secret(SecretError),
    /// No secret could be drawn.
    #[error(transparent)]
    NoSecret(SecretError),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Creates, changes and inspects webhook endpoints and their messages.
#[derive(Debug)]
pub struct WebhookAdmin {
    store: Arc<Store>,
    rules: Rules,
    counts: Counts,
}

impl WebhookAdmin {
    /// Administers the endpoints in `store`. `rules` bound the URLs of endpoints that are created here.
    #[must_use]
    pub fn new(store: Arc<Store>, rules: Rules, counts: Counts) -> Self {
        Self {
            store,
            rules,
            counts,
        }
    }

    /// Lists all endpoints, oldest first, with what is pending for each.
    pub async fn endpoints(&self) -> Result<Vec<EndpointState>, StoreError> {
        self.store.endpoint_states().await
    }

    /// Delivery counters since the start of this process.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
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
        update: EndpointUpdate,
    ) -> Result<EndpointState, EndpointError> {
        let known = self.known_endpoint(id).await?;
        if update == EndpointUpdate::default() {
            return Ok(self.store.endpoint_state(known).await?);
        }
        if known.configured && update.is_of_settings() {
            return Err(EndpointError::Configured);
        }
        let url = match &update.url {
            Some(url) => Some(self.checked_url(url).await?),
            None => None,
        };
        let change = EndpointChange {
            url,
            events: update.events,
            devices: update.devices,
            ordered: update.ordered,
            coalesce: update.coalesce,
            enabled: update.enabled,
            secret: None,
        };
        let changed = self.changed(id, change).await?;
        Ok(self.store.endpoint_state(changed).await?)
    }

    /// Draws a new secret, which the API shows this once. For a day the previous one signs messages as well.
    pub async fn rotate_secret(&self, id: Uuid) -> Result<Endpoint, EndpointError> {
        if self.known_endpoint(id).await?.configured {
            return Err(EndpointError::Configured);
        }
        let secret = Secret::generate().map_err(EndpointError::NoSecret)?;
        let change = EndpointChange {
            secret: Some((SecretText(secret.to_text()), OVERLAP)),
            ..EndpointChange::default()
        };
        self.changed(id, change).await
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

    /// Queues a `webhook.test` message.
    pub async fn test_endpoint(&self, id: Uuid) -> Result<Message, EndpointError> {
        self.known_endpoint(id).await?;
        let sent = self.store.settled(self.store.test_endpoint(id)).await?;
        let sent = sent.ok_or(EndpointError::Disabled)?;
        self.message(id, sent).await
    }

    /// Lists messages of an endpoint, newest first.
    pub async fn messages(
        &self,
        endpoint_id: Uuid,
        page: MessagePage,
    ) -> Result<Vec<Message>, EndpointError> {
        self.known_endpoint(endpoint_id).await?;
        Ok(self.store.messages(endpoint_id, page).await?)
    }

    /// Returns a message of an endpoint.
    pub async fn message(&self, endpoint_id: Uuid, id: Uuid) -> Result<Message, EndpointError> {
        let message = self.store.message(endpoint_id, id).await?;
        message.ok_or(EndpointError::UnknownMessage)
    }

    /// Makes a message due now, whether it is pending, delivered or failed.
    pub async fn retry_message(
        &self,
        endpoint_id: Uuid,
        id: Uuid,
    ) -> Result<Message, EndpointError> {
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
            let Retried { messages, last } = self.store.settled(some).await?;
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

    async fn changed(&self, id: Uuid, change: EndpointChange) -> Result<Endpoint, EndpointError> {
        let changed = self
            .store
            .settled(self.store.change_endpoint(id, change))
            .await?;
        changed.ok_or(EndpointError::Unknown)
    }

    /// Applies the URL policy and returns the normalized URL. A host name that does not resolve yet is accepted.
    async fn checked_url(&self, url: &str) -> Result<String, EndpointError> {
        let target = check(url, self.rules).map_err(EndpointError::Target)?;
        let allowed = target.check_addresses(&Lookup::system()).await;
        allowed.map_err(EndpointError::Target)?;
        Ok(target.as_str().to_owned())
    }
}
