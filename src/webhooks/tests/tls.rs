//! TLS: certificates of receivers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::receiver::{
    EMPTY, PATIENCE, SHORT, client, failed, listener, options, request, request_to,
};
use crate::{
    domain::{AttemptOutcome, FailureCause},
    webhooks::{DeliveryAttempt, Resolver, WebhookClient, WebhookClientOptions},
};

/// A receiver with a certificate for `hook.test`, and the file of its authority.
struct Secure {
    address: SocketAddr,
    ca_file: tempfile::NamedTempFile,
    serving: JoinHandle<()>,
}

impl Secure {
    async fn start() -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_file = tempfile::NamedTempFile::new().unwrap();
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        std::fs::write(ca_file.path(), ca_pem).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["hook.test".to_owned()])
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, address) = listener().await;
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust the certificate closes the connection.
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(serve(stream));
                }
            }
        });
        Self {
            address,
            ca_file,
            serving,
        }
    }

    async fn receive(&self, host: &str, ca_file: Option<PathBuf>) -> DeliveryAttempt {
        let resolver = Resolver::new(async |_name| Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        let client = WebhookClient::new(&WebhookClientOptions {
            ca_file,
            resolver,
            ..options(PATIENCE)
        });
        let url = format!("https://{host}:{}/", self.address.port());
        client.unwrap().send(&request_to(url, true)).await
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while request(&mut stream).await.is_some() {
        stream.write_all(EMPTY.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_needs_a_known_authority_and_the_right_name() {
    let receiver = Secure::start().await;
    let ca_file = Some(receiver.ca_file.path().to_owned());
    let attempt = receiver.receive("hook.test", ca_file.clone()).await;
    assert_eq!(attempt.outcome, AttemptOutcome::Delivered);
    let attempt = receiver.receive("other.test", ca_file).await;
    assert_eq!(
        failed(&attempt),
        (
            None,
            FailureCause::Endpoint,
            "the certificate is for another name"
        )
    );
    let attempt = receiver.receive("hook.test", None).await;
    assert_eq!(
        failed(&attempt),
        (
            None,
            FailureCause::Endpoint,
            "the certificate is issued by an unknown authority"
        )
    );
    receiver.serving.abort();
}

#[tokio::test]
async fn a_port_without_tls_is_refused() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 No\r\n\r\n").await.unwrap();
        // Until the client closes the connection.
        while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
    });
    let attempt = client(PATIENCE)
        .send(&request_to(format!("https://{address}"), true))
        .await;
    assert_eq!(
        failed(&attempt),
        (
            None,
            FailureCause::Endpoint,
            "the server does not speak TLS"
        )
    );
}

#[tokio::test]
async fn connecting_takes_two_thirds_of_the_timeout_at_most() {
    let (listener, address) = listener().await;
    let timeout = 3 * SHORT;
    let attempt = client(timeout)
        .send(&request_to(format!("https://{address}"), true))
        .await;
    assert_eq!(
        failed(&attempt),
        (None, FailureCause::Endpoint, "no connection within 400 ms")
    );
    drop(listener);
}
