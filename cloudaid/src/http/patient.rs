//! A connection whose other end takes what is written to it: who reads nothing for a while is cut off, whatever was asked for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long nothing may be taken. The kernel says that there is room only once a third of its buffer is free, which is more
/// than a MiB: who reads 16 KiB in a second is at that for a minute and a half. WebSockets have a shorter patience of their own, and say why.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// A connection that is not written to for ever.
pub(super) struct Patient<T> {
    io: T,
    patience: Duration,
    /// Since something waits to be written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Patient<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, patience: PATIENCE, stalled: None }
    }

    /// Passes on what writing has come to; what has to wait may do so only for a while.
    fn bear<R>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing of what was sent is taken")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, data);
        self.bear(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, data);
        self.bear(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.bear(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.io).poll_shutdown(context);
        self.bear(context, ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_cut_off_and_who_is_only_slow_is_not() {
        let short = |io| Patient { io, patience: Duration::from_millis(200), stalled: None };
        let (near, mut far) = tokio::io::duplex(10);
        let mut slow = short(near);
        let reading = tokio::spawn(async move {
            let mut taken = 0;
            while taken < 100 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                taken += far.read(&mut [0; 10]).await.expect("read");
            }
        });
        slow.write_all(&[0; 100]).await.expect("it is taken, slowly");
        reading.await.expect("all of it");

        let (near, _far) = tokio::io::duplex(10);
        let error = short(near).write_all(&[0; 100]).await.expect_err("it is not taken");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
