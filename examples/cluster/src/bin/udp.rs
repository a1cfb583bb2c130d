//! Workers that share a UDP socket: each datagram reaches one of them, which answers it.
//!
//! `cargo run -p cluster-rust --bin cluster-udp -- 127.0.0.1:8053`

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8053".to_owned());
    let socket = musher_cluster::bind_udp(address).await?;
    let draining = musher_cluster::draining();
    tokio::pin!(draining);
    let mut datagram = [0; 1500];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut datagram) => {
                let (length, peer) = received?;
                let text = String::from_utf8_lossy(&datagram[..length]);
                socket.send_to(format!("{} {text}", std::process::id()).as_bytes(), peer).await?;
            }
            () = &mut draining => return Ok(()),
        }
    }
}
