//! A byte stream to a broker: TCP, and TLS above it. Nothing here knows Kafka.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use super::error::WireError;
use super::security::Security;
use super::settings::Address;

/// TCP or TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects, and encrypts if `security` says so. The caller bounds the time.
pub(super) async fn connect(address: &Address, security: &Security) -> Result<Stream, WireError> {
    let away = |reason: String| WireError::Connect { address: address.to_string(), reason };
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    let found: Vec<SocketAddr> = found.map_err(|error| away(error.to_string()))?.collect();
    let mut last = away("the name has no address".to_owned());
    for socket_address in found {
        match tcp(socket_address).await {
            Ok(stream) => return encrypt(stream, address, security).await,
            Err(error) => last = away(error.to_string()),
        }
    }
    Err(last)
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A broker that vanished without a word is noticed although nobody sends.
    socket.set_keepalive(true)?;
    // A request is written in one go; to wait for more would only delay it.
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

async fn encrypt(stream: TcpStream, address: &Address, security: &Security) -> Result<Stream, WireError> {
    let Some(tls) = security.tls() else { return Ok(Stream::Plain(stream)) };
    tls.connect(address, stream).await.map(|stream| Stream::Tls(Box::new(stream)))
}

macro_rules! delegate {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Stream::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_shutdown(cx))
    }
}
