//! A worker without any framework: it answers each line with itself. On TCP (an address), a unix socket (a path), or the
//! socket at a descriptor (`fd:3`).
//!
//! `cargo run -p cluster-rust --bin cluster-accept -- 127.0.0.1:8080`

use musher_cluster::{Family, Listener, Tcp};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let wanted = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    if let Some(number) = wanted.strip_prefix("fd:") {
        serve(musher_cluster::listen_fd::<Tcp>(number.parse()?).await?).await;
    } else if wanted.starts_with('/') {
        serve(musher_cluster::listen_unix(wanted).await?).await;
    } else {
        serve(musher_cluster::listen(wanted).await?).await;
    }
    Ok(())
}

async fn serve<F: Family>(mut listener: Listener<F>)
where
    F::Stream: AsyncRead + AsyncWrite,
{
    let mut connections = JoinSet::new();
    while let Some((stream, _)) = listener.accept().await {
        connections.spawn(echo(stream));
        while connections.try_join_next().is_some() {}
    }
    // What is in flight is finished before the process ends.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn echo(stream: impl AsyncRead + AsyncWrite) -> std::io::Result<()> {
    let (reading, mut writing) = tokio::io::split(stream);
    let mut lines = BufReader::new(reading).lines();
    while let Some(line) = lines.next_line().await? {
        writing.write_all(format!("{} {line}\n", std::process::id()).as_bytes()).await?;
    }
    Ok(())
}
