//! `axum::serve(musher_cluster::listen(…).await?, app)`.

use std::future::{pending, poll_fn};
use std::sync::Arc;

use super::listener::{Family, Listener, Tcp, Unix};

impl axum::serve::Listener for Listener<Tcp> {
    type Io = <Tcp as Family>::Stream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match poll_fn(|context| self.poll_accept(context)).await {
            Some(connection) => connection,
            // It drains: axum stops to ask when its graceful shutdown has begun.
            None => pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(Listener::local_addr(self))
    }
}

impl axum::serve::Listener for Listener<Unix> {
    type Io = <Unix as Family>::Stream;
    type Addr = Arc<tokio::net::unix::SocketAddr>;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match poll_fn(|context| self.poll_accept(context)).await {
            Some(connection) => connection,
            None => pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(Listener::local_addr(self))
    }
}
