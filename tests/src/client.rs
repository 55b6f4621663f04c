//! `curl` in a pod: a request leaves by a real client, and what came of it returns.

use anyhow::{Context, Result, bail};

use crate::lab::Lab;
use crate::program;

/// curl's exit code when its time was up.
const TIMED_OUT: i32 = 28;

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An HTTP response.
    Http {
        /// Its status code.
        status: u16,
        /// Its head, as received.
        head: String,
        /// Its body.
        body: String,
    },
    /// Nobody answered until the time was up.
    Silence,
    /// Another end of curl, with its exit code and words.
    Failure(i32, String),
}

impl Reply {
    /// The status code, if there was a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Http { status, .. } => Some(*status),
            Self::Silence | Self::Failure(..) => None,
        }
    }

    /// A header's value, by its name in lower case.
    #[must_use]
    pub fn header(&self, wanted: &str) -> Option<&str> {
        let Self::Http { head, .. } = self else { return None };
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    }

    /// Whether the body begins with `text`.
    #[must_use]
    pub fn says(&self, text: &str) -> bool {
        matches!(self, Self::Http { body, .. } if body.starts_with(text))
    }
}

/// Sends one request by curl from a pod (or `node`). `seconds` bounds the whole exchange.
///
/// # Errors
/// When curl is missing or its output is not a response.
pub fn curl(lab: &Lab, pod: &str, seconds: u32, arguments: &[&str]) -> Result<Reply> {
    let limit = seconds.to_string();
    let answer = program::run(
        lab.command(pod, "curl").args(["-sS", "-i", "--max-time", &limit]).args(arguments),
    )?;
    match answer.code {
        Some(0) => parse(&answer.stdout),
        Some(TIMED_OUT) => Ok(Reply::Silence),
        Some(127) => bail!("{}: run `apt-get install curl`, or `make setup`", answer.stderr.trim()),
        Some(code) => Ok(Reply::Failure(code, answer.stderr.trim().to_owned())),
        None => bail!("curl was interrupted"),
    }
}

fn parse(text: &str) -> Result<Reply> {
    let (head, body) =
        text.split_once("\r\n\r\n").with_context(|| format!("no head in {text:?}"))?;
    if head.starts_with("HTTP/1.1 100") {
        return parse(body);
    }
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("no status in {head:?}"))?;
    Ok(Reply::Http { status, head: head.to_owned(), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_taken_apart() {
        let reply =
            parse("HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nAccess denied\r\n");
        let reply = reply.unwrap();
        assert_eq!(reply.status(), Some(403));
        assert_eq!(reply.header("content-type"), Some("text/plain"));
        assert!(reply.says("Access denied\r\n"));
        assert!(parse("garbage").is_err());
    }

    #[test]
    fn an_interim_response_is_passed_over() {
        let reply = parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx").unwrap();
        assert_eq!(reply.status(), Some(200));
    }
}
