//! The reference: a tokio server that answers each line with a line, and nothing else.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

/// Set in the environment of a process that is to be the server.
pub(crate) const SWITCH: &str = "VEHICLE_GATEWAY_BENCH_BARE";

/// Serves on a free port, which is the first line on standard output, until killed.
#[tokio::main]
pub(crate) async fn serve() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(16_384).unwrap();
    println!("{}", listener.local_addr().unwrap());
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                for _ in buffer[..read].iter().filter(|&&byte| byte == b'\n') {
                    if stream.write_all(b"PONG.\n").await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}
