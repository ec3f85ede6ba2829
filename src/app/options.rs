//! Settings, as the parts that they are for take them.

use std::time::Duration;

use crate::{
    config::{Settings, settings::ProxyProtocol},
    device::{Budget, DeviceOptions},
    http::HttpOptions,
    protocol::Limits,
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

/// How long a vehicle that is told goodbye may take to answer; at a stop at most three eighths of the grace. A quarter
/// is for all to be told, and one for each to answer first what it was asked.
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
