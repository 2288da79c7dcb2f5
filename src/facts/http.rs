//! One question over HTTP, to programs that stand beside evp.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::error::Cause;

/// Of a worker of Kafka Connect or a half of evp that gives none.
const USUAL_PORT: u16 = 80;
/// More than the list of a large worker of Kafka Connect.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// The answer of `host:port` to a question without a body.
pub(crate) async fn get(authority: &str, path: &str) -> Result<Answer, Cause> {
    exchange(authority, Method::GET, path, None).await
}

/// The answer of `host:port` to a request, whatever its status is.
pub(crate) async fn exchange(
    authority: &str,
    method: Method,
    path: &str,
    body: Option<&serde_json::Value>,
) -> Result<Answer, Cause> {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let stream = match has_port {
        true => TcpStream::connect(authority).await?,
        false => TcpStream::connect((authority, USUAL_PORT)).await?,
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "*/*")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()))?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok(Answer { status, body })
    };
    tokio::pin!(answered, connection);
    let mut is_open = true;
    loop {
        tokio::select! {
            answer = &mut answered => return answer,
            ended = &mut connection, if is_open => {
                ended?;
                is_open = false;
            }
        }
    }
}
