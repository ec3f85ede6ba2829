//! TLS clients, and the crypto provider that the HTTP client of these tests needs, even without TLS.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{Arc, Once},
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, crypto::ring, pki_types::ServerName};

use super::PATIENCE;

static PROVIDED: Once = Once::new();

/// Installs the default provider of the process, once. The gateway's own client names its provider itself.
pub(crate) fn install_tls_provider() {
    PROVIDED.call_once(|| ring::default_provider().install_default().unwrap());
}

/// A connection inside TLS.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Connects to this address of `localhost` and shakes hands.
pub(crate) fn connect_tls(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<TlsStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    encrypt(stream, config)
}

/// Shakes hands on an open connection.
pub(crate) fn encrypt(mut stream: TcpStream, config: Arc<ClientConfig>) -> io::Result<TlsStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(config, name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}
