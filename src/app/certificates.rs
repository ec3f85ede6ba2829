//! The certificates of the listeners.

use std::sync::Arc;

use super::{error::StartError, options};
use crate::{
    config::Settings,
    tls::{TlsErrors, TlsFiles, TlsServer},
};

/// The TLS of the listeners that have it.
pub(super) struct TlsServers {
    pub(super) http: Option<Arc<TlsServer>>,
    pub(super) device: Option<Arc<TlsServer>>,
}

impl TlsServers {
    /// Reads the files of all listeners. The error names all that cannot be used.
    pub(super) fn open(settings: &Settings) -> Result<Self, StartError> {
        let open = |files: Option<TlsFiles>| {
            let server = files.map(TlsServer::open).transpose()?;
            Ok::<_, TlsErrors>(server.map(Arc::new))
        };
        let http = open(options::http_tls(settings));
        let device = open(options::device_tls(settings));
        match (http, device) {
            (Ok(http), Ok(device)) => Ok(Self { http, device }),
            (http, device) => {
                let failed = http.err().into_iter().chain(device.err());
                let errors = failed.flat_map(|errors| errors.0).collect();
                Err(StartError::Tls(TlsErrors(errors)))
            }
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<TlsServer>> {
        self.http.iter().chain(&self.device).cloned().collect()
    }
}
