//! Just enough HTTP/1.1 for a load: requests and responses to send, and readers that follow what comes in any pieces.
//!
//! A message's body has the length that Content-Length says; other framing is refused, never guessed.

use std::sync::Arc;

/// The longest head read.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;

/// The message cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an HTTP/1.1 message with a Content-Length")]
pub struct NotUnderstood;

/// A request without a body: `GET /public` and the host.
pub fn request(method: &str, target: &str, host: &str) -> Arc<[u8]> {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: pktgen\r\n\r\n")
        .into_bytes()
        .into()
}

/// A response of status 200 with a body of `len` bytes.
pub fn response(len: usize) -> Arc<[u8]> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n")
            .into_bytes();
    bytes.resize(bytes.len() + len, b'x');
    bytes.into()
}

/// What the head of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// The status of a response; 0 for a request.
    status: u16,
    len: usize,
    body: u64,
}

/// Which messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests.
    Request,
    /// Responses.
    Response,
}

/// Follows the messages of one direction of a connection.
#[derive(Clone, Debug)]
pub struct Reader {
    kind: Kind,
    /// The beginning of a head that is not whole yet.
    head: Vec<u8>,
    /// Status and rest of the body that is being read.
    body: Option<(u16, u64)>,
}

impl Reader {
    /// A reader at the start of a connection.
    pub fn new(kind: Kind) -> Self {
        Self { kind, head: Vec::new(), body: None }
    }

    /// Takes `data` in and calls `done` with the status at the end of every message (0 for a request).
    ///
    /// # Errors
    /// The messages cannot be followed.
    pub fn read(
        &mut self,
        mut data: &[u8],
        mut done: impl FnMut(u16),
    ) -> Result<(), NotUnderstood> {
        while !data.is_empty() {
            if self.body.is_none() {
                let known = self.head.len();
                let head = if known == 0 {
                    head(self.kind, data)?
                } else {
                    self.head.extend_from_slice(data);
                    head(self.kind, &self.head)?
                };
                let Some(head) = head else {
                    if known == 0 {
                        self.head.extend_from_slice(data);
                    }
                    return if self.head.len() > MAX_HEAD { Err(NotUnderstood) } else { Ok(()) };
                };
                data = data.get(head.len.saturating_sub(known)..).unwrap_or_default();
                self.head.clear();
                self.body = Some((head.status, head.body));
            }
            let Some((status, left)) = self.body else { return Ok(()) };
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
            data = data.get(taken..).unwrap_or_default();
            let left = left - taken as u64;
            self.body = (left > 0).then_some((status, left));
            if left == 0 {
                done(status);
            }
        }
        Ok(())
    }
}

/// Reads a head at the start of `data`; none if it is not whole.
fn head(kind: Kind, data: &[u8]) -> Result<Option<Head>, NotUnderstood> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let (status, len, fields) = match kind {
        Kind::Request => {
            let mut request = httparse::Request::new(&mut fields);
            let parsed = request.parse(data).map_err(|_malformed| NotUnderstood)?;
            let httparse::Status::Complete(len) = parsed else { return Ok(None) };
            (0, len, request.headers)
        }
        Kind::Response => {
            let mut response = httparse::Response::new(&mut fields);
            let parsed = response.parse(data).map_err(|_malformed| NotUnderstood)?;
            let httparse::Status::Complete(len) = parsed else { return Ok(None) };
            (response.code.unwrap_or(0), len, response.headers)
        }
    };
    let mut body = None;
    for field in fields.iter() {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(NotUnderstood);
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            let value = std::str::from_utf8(field.value).ok().and_then(|text| text.parse().ok());
            body = Some(value.ok_or(NotUnderstood)?);
        }
    }
    let body = match (kind, status, body) {
        (Kind::Response, 100..200 | 204 | 304, _) => 0,
        (_, _, Some(body)) => body,
        (Kind::Request, _, None) => 0,
        (Kind::Response, _, None) => return Err(NotUnderstood),
    };
    Ok(Some(Head { status, len, body }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(kind: Kind, pieces: &[&[u8]]) -> Result<Vec<u16>, NotUnderstood> {
        let mut reader = Reader::new(kind);
        let mut statuses = Vec::new();
        for piece in pieces {
            reader.read(piece, |status| statuses.push(status))?;
        }
        Ok(statuses)
    }

    #[test]
    fn messages_that_cannot_be_framed_are_refused() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(read(Kind::Response, &[chunked]), Err(NotUnderstood));
        assert_eq!(read(Kind::Response, &[b"HTTP/1.1 200 OK\r\n\r\n"]), Err(NotUnderstood));
        assert_eq!(read(Kind::Request, &[b"\x16\x03\x01"]), Err(NotUnderstood));
        let endless = vec![b'a'; MAX_HEAD + 1];
        assert_eq!(read(Kind::Request, &[b"GET /", &endless]), Err(NotUnderstood));
        assert_eq!(read(Kind::Response, &[b"HTTP/1.1 204 No Content\r\n\r\n"]), Ok(vec![204]));
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same_messages(
            bodies in prop::collection::vec(0..300_usize, 1..5),
            cuts in prop::collection::vec(1..60_usize, 0..40),
        ) {
            let mut stream = Vec::new();
            for &body in &bodies {
                stream.extend_from_slice(&response(body));
                stream.extend_from_slice(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
            }
            let mut rest = &stream[..];
            let mut pieces = Vec::new();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let expected: Vec<u16> = bodies.iter().flat_map(|_| [200, 403]).collect();
            prop_assert_eq!(read(Kind::Response, &pieces), Ok(expected));
        }
    }

    #[test]
    fn requests_are_read_one_after_another() {
        let get = request("GET", "/a", "h");
        let mut two = get.to_vec();
        two.extend_from_slice(b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(read(Kind::Request, &[&two]), Ok(vec![0, 0]));
    }
}
