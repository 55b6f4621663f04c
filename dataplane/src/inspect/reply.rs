//! The answers that we give in the server's place: a denial's 403 and the grammar's refusals.
//!
//! The 403 is byte for byte what Cilium's Envoy sends as its body (`Access denied` CRLF, 15 bytes), so clients and tests that
//! look for it find it.

use parser::http::HttpRefusal;

/// One answer, not yet in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// HTTP status code.
    status: u16,
    /// The request was HEAD: fields as for GET, no content (RFC 9110 §9.3.2).
    to_head: bool,
    /// The connection ends after this answer.
    pub(super) close: bool,
}

/// A 403's content.
const DENIED: &str = "Access denied\r\n";

impl Reply {
    /// Policy does not allow the request.
    pub(super) fn denied(to_head: bool, close: bool) -> Self {
        Self { status: 403, to_head, close }
    }

    /// The grammar refuses the message; nothing may follow it.
    pub(super) fn refused(refusal: HttpRefusal) -> Self {
        Self { status: refusal.status(), to_head: false, close: true }
    }

    /// The request ended in the middle, or was unreadable in a way that has no name.
    pub(super) fn bad_request() -> Self {
        Self { status: 400, to_head: false, close: true }
    }

    /// Writes the answer to the end of `out`.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let reason = match self.status {
            403 => "Forbidden",
            408 => "Request Timeout",
            413 => "Content Too Large",
            414 => "URI Too Long",
            417 => "Expectation Failed",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            505 => "HTTP Version Not Supported",
            _ => "Bad Request",
        };
        let body = if self.status == 403 { DENIED } else { reason };
        let digits = [self.status / 100 % 10, self.status / 10 % 10, self.status % 10];
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend(digits.iter().map(|&digit| b'0' + u8::try_from(digit).unwrap_or_default()));
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\r\ncontent-length: ");
        let len = u8::try_from(body.len()).unwrap_or_default();
        out.extend_from_slice(&[b'0' + len / 10, b'0' + len % 10]);
        out.extend_from_slice(b"\r\ncontent-type: text/plain\r\n");
        if self.close {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if !self.to_head {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_403_is_ciliums() {
        assert_eq!(
            text(Reply::denied(false, false)),
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 15\r\ncontent-type: text/plain\r\n\r\nAccess denied\r\n"
        );
        assert!(text(Reply::denied(true, true)).ends_with("\r\nconnection: close\r\n\r\n"));
    }

    #[test]
    fn every_refusal_has_an_answer_of_the_announced_length() {
        for &refusal in HttpRefusal::ALL {
            let text = text(Reply::refused(refusal));
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(length, body.len(), "{refusal:?}");
        }
    }
}
