//! Translates the settings into the options of the parts.

use std::{path::PathBuf, time::Duration};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    access::{ConfiguredKey, KeyHash, Keyring, Scope},
    config::{EndpointSettings, HttpAuth, KeySettings, ProxyProtocol, Settings},
    device::{Budget, DeviceOptions},
    domain::{DeviceId, EventKind, Timestamp},
    http::{AccessRules, Authorization, HostNames, HttpOptions},
    protocol::Limits,
    store::{FailureLimits, NewEndpoint, SecretText},
    tls::{ClientFiles, ListenerName, TlsFiles},
    webhooks::{DispatcherOptions, Resolver, RetrySchedule, UrlPolicy, WebhookClientOptions},
};

pub(super) fn http_options(settings: &Settings) -> HttpOptions {
    let http = &settings.http;
    HttpOptions {
        header_timeout: http.header_timeout,
        max_connections: http.max_connections,
        max_body: http.max_body,
        request_timeout: http.request_timeout,
        command_timeout: settings.commands.timeout,
    }
}

/// The files of the certificate of the API; `None` if it speaks HTTP without TLS.
pub(super) fn http_tls(settings: &Settings) -> Option<TlsFiles> {
    let tls = &settings.http.tls;
    tls.is_on().then(|| TlsFiles {
        listener: ListenerName::Http,
        certificate: tls.certificate.clone().into(),
        key: tls.key.clone().into(),
        clients: None,
        protocols: vec![b"http/1.1".to_vec()],
    })
}

/// The files of the device port inside TLS; `None` if there is no such port.
pub(super) fn device_tls(settings: &Settings) -> Option<TlsFiles> {
    let tls = &settings.device.tls;
    let path = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
    tls.listen.map(|_| TlsFiles {
        listener: ListenerName::Device,
        certificate: tls.certificate.clone().into(),
        key: tls.key.clone().into(),
        clients: path(&tls.client_ca).map(|authorities| ClientFiles {
            authorities,
            lists: path(&tls.client_crl),
            is_required: tls.require_client_certificate,
        }),
        protocols: Vec::new(),
    })
}

/// Whose requests the API answers.
pub(super) fn access_rules(settings: &Settings) -> AccessRules {
    let http = &settings.http;
    AccessRules {
        authorization: match http.auth {
            HttpAuth::Loopback | HttpAuth::Off => Authorization::Off,
            HttpAuth::Required => Authorization::Required,
        },
        hosts: if http.auth != HttpAuth::Loopback && http.hosts.is_empty() {
            HostNames::any()
        } else {
            HostNames::only(&http.hosts)
        },
    }
}

/// The keys of the settings.
pub(super) fn configured_keys(settings: &Settings) -> Keyring {
    Keyring::configured(settings.http.keys.iter().filter_map(key))
}

/// A key of the settings, which have checked its hash and its scopes.
fn key(key: &KeySettings) -> Option<(KeyHash, ConfiguredKey)> {
    let scopes = key
        .scopes
        .iter()
        .filter_map(|scope| scope.parse::<Scope>().ok());
    let known = ConfiguredKey {
        name: key.name.clone(),
        scopes: scopes.collect(),
        expires_at: key
            .expires
            .map(|at| Timestamp::from_millis(at.as_millisecond())),
    };
    Some((KeyHash::parse(&key.sha256)?, known))
}

/// How long a vehicle may take to answer a goodbye. At shutdown at most three eighths of the grace: a quarter is for
/// saying goodbye to all vehicles, and a quarter for each to answer outstanding commands first.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn device_options(settings: &Settings, max_connections: usize) -> DeviceOptions {
    let device = &settings.device;
    DeviceOptions {
        limits: Limits {
            sentence: device.max_sentence,
            blob: device.max_blob,
        },
        proxy_sources: match device.proxy_protocol {
            ProxyProtocol::Off => None,
            ProxyProtocol::Required => Some(device.proxy_sources.clone()),
        },
        max_connections,
        max_bad_sentences: u32::try_from(device.max_bad_sentences).unwrap_or(u32::MAX),
        pipeline: device.pipeline,
        greeting_delay: device.greeting_delay,
        login_timeout: device.login_timeout,
        silence_timeout: device.silence_timeout,
        write_timeout: device.write_timeout,
        blob_timeout: device.blob_timeout,
        commit_timeout: settings.store.commit_timeout,
        goodbye_timeout: GOODBYE_TIMEOUT,
        shutdown_goodbye_timeout: GOODBYE_TIMEOUT.min(settings.shutdown.grace * 3 / 8),
        answer_patience: settings.shutdown.grace / 4,
        release_time: settings.shutdown.grace / 4,
        budget: Budget::new(device.buffer_budget),
    }
}

pub(super) fn url_policy(settings: &Settings) -> UrlPolicy {
    UrlPolicy {
        allow_http: settings.webhooks.allow_http,
        allow_private: settings.webhooks.allow_private,
        allow_any_port: false,
    }
}

pub(super) fn client_options(settings: &Settings) -> WebhookClientOptions {
    WebhookClientOptions {
        timeout: settings.webhooks.timeout,
        policy: url_policy(settings),
        ca_file: None,
        resolver: Resolver::system(),
    }
}

pub(super) fn dispatcher_options(settings: &Settings) -> DispatcherOptions {
    let webhooks = &settings.webhooks;
    DispatcherOptions {
        schedule: RetrySchedule::new(webhooks.retry_schedule.clone()),
        limits: FailureLimits {
            disable_after: webhooks.disable_after,
            coalesce_after: webhooks.coalesce_after,
        },
        concurrency: webhooks.concurrency,
        timeout: webhooks.timeout,
    }
}

/// The webhook endpoints of the settings. The settings have checked the device ids and the kinds of events, so none is
/// left out.
pub(super) fn endpoints(settings: &Settings) -> Vec<NewEndpoint> {
    let endpoints = settings.webhooks.endpoints.iter();
    endpoints.map(endpoint).collect()
}

fn endpoint(endpoint: &EndpointSettings) -> NewEndpoint {
    let devices = endpoint.devices.iter();
    let devices = devices.filter_map(|id| DeviceId::parse(id).ok());
    let events = endpoint.events.iter();
    NewEndpoint {
        id: endpoint_id(endpoint.url.as_str()),
        url: endpoint.url.as_str().to_owned(),
        events: events
            .filter_map(|event| event.parse::<EventKind>().ok())
            .collect(),
        devices: (!endpoint.devices.is_empty()).then(|| devices.collect()),
        secret: SecretText(endpoint.secret.as_str().to_owned()),
        ordered: endpoint.ordered,
        coalesce: endpoint.coalesce,
    }
}

/// The id of a configured endpoint: a version 8 UUID (RFC 9562, section 5.8) of the URL's SHA-256, so that it is the
/// same for every instance and start.
fn endpoint_id(url: &str) -> Uuid {
    let digest = Sha256::digest(url.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use strum::VariantNames;

    use super::*;
    use crate::config::{EVENTS, SCOPES};

    #[test]
    fn the_settings_know_every_event_kind() {
        assert_eq!(EventKind::VARIANTS, EVENTS);
    }

    #[test]
    fn a_configured_endpoint_keeps_its_id() {
        let id = endpoint_id("https://fleet.example.com/hooks");
        assert_eq!(id, endpoint_id("https://fleet.example.com/hooks"));
        assert_ne!(id, endpoint_id("https://fleet.example.com/hooks/"));
        assert_eq!(id.get_version_num(), 8);
    }

    #[test]
    fn the_scopes_of_the_settings_are_those_of_keys() {
        assert_eq!(SCOPES, Scope::VARIANTS);
    }
}
