//! HTTP client of webhooks: one attempt to send one message.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Client, Method, Request, Response,
    header::{CONTENT_TYPE, HeaderValue},
    redirect, retry,
};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use super::{
    Resolver, Secret, UrlPolicy,
    resolver::GuardedResolver,
    response, signing,
    tls::{self, TlsConfigError},
    transport_error::{describe, seconds},
};
use crate::{
    domain::{AttemptOutcome, FailureCause},
    store::AttemptRecord,
};

/// Identifies the gateway in the logs of receivers.
const USER_AGENT: &str = concat!("vehicle-gateway/", env!("CARGO_PKG_VERSION"));
/// Common servers close a connection after 5 s without a request. The client closes it earlier, so that it never sends
/// a request while the server is closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Idle connections to one host that are kept.
const IDLE_CONNECTIONS: usize = 16;
/// How long the body of a response is read after its head, which decides the outcome.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Options of a [`WebhookClient`].
#[derive(Debug, Clone)]
pub struct WebhookClientOptions {
    /// The longest time for an attempt: resolving, connecting, sending, and the head of the response.
    pub timeout: Duration,
    /// What is allowed in the URLs of endpoints that do not come from the settings.
    pub policy: UrlPolicy,
    /// Certificate authorities to trust besides those of the system, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Resolves host names.
    pub resolver: Resolver,
}

/// The client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum WebhookClientError {
    /// TLS cannot be configured.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// The HTTP library refuses the configuration.
    #[error("cannot set up the HTTP client: {0}")]
    Http(reqwest::Error),
}

/// A message to send to an endpoint.
#[derive(Debug, Clone)]
pub struct WebhookRequest {
    /// The URL. It is checked at every attempt, since the policy may have changed with the settings.
    pub url: String,
    /// The endpoint is defined in the settings: [`UrlPolicy::TRUSTED`] applies.
    pub trusted: bool,
    /// The message's id, the same in every attempt.
    pub id: String,
    /// The time of this attempt, in seconds since 1970.
    pub timestamp: i64,
    /// The JSON body.
    pub body: Bytes,
    /// Signs the message.
    pub secret: Secret,
    /// Signs the message as well, while the receiver may not know the new secret yet.
    pub previous_secret: Option<Secret>,
}

/// An attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// The outcome.
    pub outcome: AttemptOutcome,
    /// What is stored about it.
    pub record: AttemptRecord,
}

impl DeliveryAttempt {
    /// An attempt without a response.
    pub(super) fn unanswered(cause: FailureCause, error: String, duration: Duration) -> Self {
        Self {
            outcome: AttemptOutcome::Failed {
                cause,
                retry_after: None,
            },
            record: AttemptRecord {
                duration: Some(duration),
                error: Some(error),
                ..AttemptRecord::default()
            },
        }
    }
}

/// Sends messages, any number at once, and keeps connections alive. Clones share their connections.
#[derive(Debug, Clone)]
pub struct WebhookClient {
    /// Two clients, so that a message of an endpoint that is not trusted never uses a connection that a message of a
    /// trusted one opened.
    guarded: Client,
    trusted: Client,
    policy: UrlPolicy,
    timeout: Duration,
    connect_timeout: Duration,
}

impl WebhookClient {
    /// Reads the certificate authorities. Connects to nothing yet.
    pub fn new(options: &WebhookClientOptions) -> Result<Self, WebhookClientError> {
        let tls = tls::client(options.ca_file.as_deref())?;
        // If a name has several addresses, one that does not answer leaves time for the others.
        let connect_timeout = options.timeout * 2 / 3;
        let client = |policy: UrlPolicy| {
            let resolver = GuardedResolver {
                resolver: options.resolver.clone(),
                allow_private: policy.allow_private,
            };
            http_client(resolver, tls.clone(), connect_timeout).map_err(WebhookClientError::Http)
        };
        Ok(Self {
            guarded: client(options.policy)?,
            trusted: client(UrlPolicy::TRUSTED)?,
            policy: options.policy,
            timeout: options.timeout,
            connect_timeout,
        })
    }

    /// Makes one attempt. It ends within the timeout, whatever the server does; dropping the future ends it at once.
    pub async fn send(&self, request: &WebhookRequest) -> DeliveryAttempt {
        let started = Instant::now();
        let deadline = started + self.timeout;
        let responded = self.request(request, deadline).await;
        let duration = started.elapsed();
        match responded {
            Ok(response) => {
                let status = response.status();
                let (outcome, error) = response::classify(status, response.headers());
                let deadline = deadline.min(Instant::now() + BODY_TIMEOUT);
                let beginning = response::beginning(response, deadline).await;
                DeliveryAttempt {
                    outcome,
                    record: AttemptRecord {
                        status: Some(status.as_u16()),
                        duration: Some(duration),
                        response: Some(beginning).filter(|text| !text.is_empty()),
                        error,
                    },
                }
            }
            Err(NoResponse { cause, error }) => DeliveryAttempt::unanswered(cause, error, duration),
        }
    }

    /// Sends a message and returns the head of the response.
    async fn request(
        &self,
        message: &WebhookRequest,
        deadline: Instant,
    ) -> Result<Response, NoResponse> {
        let (client, policy) = if message.trusted {
            (&self.trusted, UrlPolicy::TRUSTED)
        } else {
            (&self.guarded, self.policy)
        };
        let url = policy
            .check(&message.url)
            .map_err(|error| NoResponse::of_endpoint(error.to_string()))?;
        let secrets = [Some(&message.secret), message.previous_secret.as_ref()];
        let mut request = Request::new(Method::POST, url.url().clone());
        *request.headers_mut() = signing::headers(
            &message.id,
            message.timestamp,
            &message.body,
            secrets.into_iter().flatten(),
        )
        .map_err(|_error| NoResponse {
            cause: FailureCause::Message,
            error: "the message's id cannot be a header".to_owned(),
        })?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        *request.body_mut() = Some(message.body.clone().into());
        timeout_at(deadline, client.execute(request))
            .await
            .map_err(|_elapsed| {
                NoResponse::of_endpoint(format!("no response within {}", seconds(self.timeout)))
            })?
            .map_err(|error| {
                // Paths and queries of webhooks are often secrets.
                let error = error.without_url();
                NoResponse::of_endpoint(describe(&error, self.connect_timeout))
            })
    }
}

/// Why a request got no response.
struct NoResponse {
    cause: FailureCause,
    error: String,
}

impl NoResponse {
    fn of_endpoint(error: String) -> Self {
        Self {
            cause: FailureCause::Endpoint,
            error,
        }
    }
}

fn http_client(
    resolver: GuardedResolver,
    tls: ClientConfig,
    connect_timeout: Duration,
) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(Arc::new(resolver))
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        // The URL policy has not checked where a redirect leads to.
        .redirect(redirect::Policy::none())
        // A proxy would resolve the name itself, past the IP policy.
        .no_proxy()
        // The dispatcher decides about another attempt, and counts each.
        .retry(retry::never())
        .referer(false)
        .http1_only()
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build()
}
