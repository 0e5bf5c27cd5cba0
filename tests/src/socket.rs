//! A WebSocket client that reads JSON.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::wait::PATIENCE;

/// A connection.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects to `path` of the master at `url` (`http://HOST:PORT`) with a token.
    ///
    /// # Errors
    /// The HTTP status of a refusal.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn connect(url: &str, path: &str, token: &str) -> Result<Self, u16> {
        let address = format!("{}{path}", url.replacen("http", "ws", 1));
        let mut request = address.into_client_request().expect("an address");
        if !token.is_empty() {
            let value = format!("Bearer {token}").parse().expect("a header");
            request.headers_mut().insert("authorization", value);
        }
        match connect_async(request).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next text frame; none: closed.
    ///
    /// # Panics
    /// When nothing comes for a while, or it is not of this form.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            let next =
                tokio::time::timeout(Duration::from_secs(30), self.stream.next()).await.expect("a frame in time");
            match next {
                Some(Ok(Message::Text(text))) => {
                    return Some(serde_json::from_str(&text).expect("a frame of this form"));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next frame, of whatever kind; none: closed.
    ///
    /// # Panics
    /// When nothing comes for a while.
    pub async fn frame(&mut self) -> Option<Message> {
        match tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("a frame in time") {
            Some(Ok(Message::Close(_)) | Err(_)) | None => None,
            Some(Ok(frame)) => Some(frame),
        }
    }

    /// With which code it is closed; reads what comes before.
    ///
    /// # Panics
    /// When it is not closed for a while.
    pub async fn closed(&mut self) -> Option<u16> {
        let close = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(90), close).await.expect("closed in time")
    }

    /// Sends a frame.
    pub async fn send(&mut self, message: Message) {
        // A server that has closed hears it no more.
        let _ = self.stream.send(message).await;
    }
}
