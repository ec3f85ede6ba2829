//! One attempt to deliver one message.

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
    Lookup, Outcome, Rules, Secret, answer,
    lookup::Guard,
    signature, target, tls,
    trouble::{describe, seconds},
};

/// By this receivers see in their logs who it was.
const USER_AGENT: &str = concat!("vehicle-gateway/", env!("CARGO_PKG_VERSION"));
/// Common servers close a connection that was idle for 5 s. One that is given up earlier is never written to in the
/// moment in which the other side closes it.
const IDLE: Duration = Duration::from_secs(4);
/// Connections to one receiver that are kept for the next message.
const IDLE_CONNECTIONS: usize = 16;
/// How long the rest of an answer is waited for when its head has said all that counts.
pub(super) const BODY_PATIENCE: Duration = Duration::from_secs(2);

/// How messages are sent.
#[derive(Debug, Clone)]
pub struct SenderOptions {
    /// The whole of resolving, connecting, sending, and the answer.
    pub timeout: Duration,
    /// What endpoints may be that do not come from the settings.
    pub rules: Rules,
    /// Authorities to believe besides those of the system, in PEM.
    pub ca_file: Option<PathBuf>,
    /// How names are resolved.
    pub lookup: Lookup,
}

/// Why nothing can be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The authorities cannot be read.
    #[error("cannot read authorities from {}: {reason}", file.display())]
    CaFile {
        /// Where they should be.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Encryption cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(rustls::Error),
    /// The client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Client(reqwest::Error),
}

/// A message for an endpoint.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where to. It is checked, whatever was checked when the endpoint was made: rules change with the settings.
    pub url: String,
    /// The endpoint is one of the settings, and may be anywhere.
    pub trusted: bool,
    /// The message's id, the same in every attempt.
    pub id: String,
    /// The time of this attempt, in seconds since 1970.
    pub timestamp: i64,
    /// JSON.
    pub body: Bytes,
    /// What the endpoint's messages are signed with.
    pub secret: Secret,
    /// What they were signed with before, while the receiver may not know the new one yet.
    pub old_secret: Option<Secret>,
}

/// What was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What came of it.
    pub outcome: Outcome,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// How long it took until the head of the answer, or the failure.
    pub took: Duration,
    /// How the answer's body begins: 1 KiB at most, and no NUL in it.
    pub answer: String,
}

/// Sends messages, any number at once. It keeps connections; share one.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Two, so that a message that may not go to an address never takes a connection that another one may have there.
    guarded: Client,
    trusted: Client,
    rules: Rules,
    timeout: Duration,
    connecting: Duration,
}

impl Sender {
    /// Reads the authorities to believe, and connects to nobody yet.
    pub fn new(options: &SenderOptions) -> Result<Self, SenderError> {
        let tls = tls::client(options.ca_file.as_deref())?;
        // Where a name has several addresses, a dead one must leave time for the others.
        let connecting = options.timeout * 2 / 3;
        let client = |rules: Rules| {
            let guard = Guard {
                lookup: options.lookup.clone(),
                allow_private: rules.allow_private,
            };
            client(guard, tls.clone(), connecting).map_err(SenderError::Client)
        };
        Ok(Self {
            guarded: client(options.rules)?,
            trusted: client(Rules::TRUSTED)?,
            rules: options.rules,
            timeout: options.timeout,
            connecting,
        })
    }

    /// Makes one attempt. It ends in time whatever the receiver does; whoever drops it ends it at once.
    pub async fn send(&self, delivery: &Delivery) -> Attempt {
        let began = Instant::now();
        let deadline = began + self.timeout;
        let answered = self.ask(delivery, deadline).await;
        let took = began.elapsed();
        match answered {
            Ok(response) => {
                let status = response.status();
                let outcome = Outcome::of(status, response.headers());
                let patience = deadline.min(Instant::now() + BODY_PATIENCE);
                Attempt {
                    outcome,
                    status: Some(status.as_u16()),
                    took,
                    answer: answer::beginning(response, patience).await,
                }
            }
            Err(Unanswered { is_endpoint, error }) => Attempt {
                outcome: Outcome::Failed {
                    retry_after: None,
                    is_endpoint,
                    error,
                },
                status: None,
                took,
                answer: String::new(),
            },
        }
    }

    /// The head of the answer.
    async fn ask(&self, delivery: &Delivery, deadline: Instant) -> Result<Response, Unanswered> {
        let (client, rules) = if delivery.trusted {
            (&self.trusted, Rules::TRUSTED)
        } else {
            (&self.guarded, self.rules)
        };
        let target = target::check(&delivery.url, rules)
            .map_err(|error| Unanswered::of_endpoint(error.to_string()))?;
        let secrets = [Some(&delivery.secret), delivery.old_secret.as_ref()];
        let mut request = Request::new(Method::POST, target.url().clone());
        *request.headers_mut() = signature::headers(
            &delivery.id,
            delivery.timestamp,
            &delivery.body,
            secrets.into_iter().flatten(),
        )
        .map_err(|_error| Unanswered {
            is_endpoint: false,
            error: "the message's id cannot be a header".to_owned(),
        })?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        *request.body_mut() = Some(delivery.body.clone().into());
        timeout_at(deadline, client.execute(request))
            .await
            .map_err(|_elapsed| {
                Unanswered::of_endpoint(format!("no answer within {}", seconds(self.timeout)))
            })?
            .map_err(|error| {
                // Paths and queries of webhooks are often secrets.
                let error = error.without_url();
                Unanswered::of_endpoint(describe(&error, self.connecting))
            })
    }
}

/// There was no answer.
struct Unanswered {
    is_endpoint: bool,
    error: String,
}

impl Unanswered {
    fn of_endpoint(error: String) -> Self {
        Self {
            is_endpoint: true,
            error,
        }
    }
}

fn client(guard: Guard, tls: ClientConfig, connecting: Duration) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(Arc::new(guard))
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        // Wherever they lead to, nobody has checked.
        .redirect(redirect::Policy::none())
        // A proxy would resolve the name, and unchecked.
        .no_proxy()
        // Attempts are counted by whoever asks for them.
        .retry(retry::never())
        .referer(false)
        .http1_only()
        .connect_timeout(connecting)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build()
}
