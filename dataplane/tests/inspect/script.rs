//! HTTP conversations and the oracle: from what the client writes, what the server must receive and what the client must.

use crate::random::Random;

/// What an end writes, and how many bytes it must have received before.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) after: usize,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) client: Vec<Write>,
    pub(crate) server: Vec<Write>,
    /// What must reach the server, and the client.
    pub(crate) at_server: Vec<u8>,
    pub(crate) at_client: Vec<u8>,
    /// A denial ends the connection: we close towards the client, and reset the server.
    pub(crate) closes: bool,
    /// The client closes its half as soon as it has written everything.
    pub(crate) half_close: bool,
    /// The server closes as soon as it has written everything.
    pub(crate) server_closes: bool,
    /// Paths that must have been judged, in order.
    pub(crate) judged: Vec<String>,
    pub(crate) pipelined: bool,
}

pub(crate) fn denial(to_head: bool, close: bool) -> Vec<u8> {
    let close = if close { "connection: close\r\n" } else { "" };
    let body = if to_head { "" } else { "Access denied\r\n" };
    format!("HTTP/1.1 403 Forbidden\r\ncontent-length: 15\r\ncontent-type: text/plain\r\n{close}\r\n{body}").into_bytes()
}

impl Script {
    fn wait(&self) -> usize {
        if self.pipelined { 0 } else { self.at_client.len() }
    }

    fn send(&mut self, bytes: &[u8]) {
        let after = self.wait();
        self.client.push(Write { after, bytes: bytes.to_vec() });
    }

    fn answer(&mut self, bytes: &[u8]) {
        self.server.push(Write { after: self.at_server.len(), bytes: bytes.to_vec() });
        self.at_client.extend_from_slice(bytes);
    }

    /// An allowed exchange.
    pub(crate) fn allowed(&mut self, path: &str, request: &[u8], response: &[u8]) {
        self.judged.push(path.to_owned());
        self.send(request);
        self.at_server.extend_from_slice(request);
        self.answer(response);
    }

    /// An exchange that policy denies; `close` if the engine must close after it.
    pub(crate) fn denied(&mut self, path: &str, request: &[u8], to_head: bool, close: bool) {
        self.judged.push(path.to_owned());
        self.send(request);
        self.at_client.extend_from_slice(&denial(to_head, close));
        self.closes |= close;
    }
}

fn body(random: &mut Random, len: usize) -> Vec<u8> {
    let salt = random.next() as u8;
    (0..len).map(|i| b' ' + ((i as u64 * 7 + u64::from(salt)) % 90) as u8).collect()
}

fn size(random: &mut Random) -> usize {
    match random.below(10) {
        0..=4 => random.below(600) as usize,
        5..=7 => random.below(6_000) as usize,
        8 => random.below(30_000) as usize,
        _ => random.below(90_000) as usize,
    }
}

fn padding(random: &mut Random) -> String {
    let len = match random.below(8) {
        0..=4 => random.below(100),
        5..=6 => random.below(2_000),
        _ => random.below(15_500),
    };
    let mut text = String::new();
    let mut left = len;
    while left > 0 {
        let line = left.min(1_500);
        text.push_str(&format!("x-pad: {}\r\n", "p".repeat(line as usize)));
        left -= line;
    }
    text
}

fn chunked(random: &mut Random, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let limit = random.one(&[1, 10, 1_000, 5_000, 70_000]);
        let len = (1 + random.below(limit) as usize).min(rest.len());
        out.extend(format!("{len:x}\r\n").bytes());
        out.extend(&rest[..len]);
        out.extend(b"\r\n");
        rest = &rest[len..];
    }
    out.extend(b"0\r\n");
    if random.per_mille(300) {
        out.extend(b"x-sum: 1\r\n");
    }
    out.extend(b"\r\n");
    out
}

fn response(random: &mut Random, to_head: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if random.per_mille(60) {
        out.extend(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n");
    }
    let len = size(random);
    let content = body(random, len);
    match random.below(if to_head { 3 } else { 6 }) {
        _ if to_head => {
            out.extend(
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", content.len()).bytes(),
            );
        }
        0 => out.extend(b"HTTP/1.1 204 No Content\r\nserver: model\r\n\r\n"),
        1 => out.extend(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 77\r\n\r\n"),
        2 => {
            out.extend(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let chunks = chunked(random, &content);
            out.extend(chunks);
        }
        _ => {
            out.extend(
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", content.len()).bytes(),
            );
            out.extend(content);
        }
    }
    out
}

/// A conversation that a real client and a real server could have.
pub(crate) fn random_script(random: &mut Random) -> Script {
    let mut script = Script { pipelined: random.per_mille(500), ..Script::default() };
    let exchanges = 1 + random.below(6);
    for number in 0..exchanges {
        let pad = padding(random);
        let last = number + 1 == exchanges;
        match random.below(13) {
            0..=3 => {
                let path = format!("/allow/{number}");
                let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{pad}\r\n");
                let answer = response(random, false);
                script.allowed(&path, request.as_bytes(), &answer);
            }
            4 => {
                let path = format!("/allow/head/{number}");
                let request = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n{pad}\r\n");
                let answer = response(random, true);
                script.allowed(&path, request.as_bytes(), &answer);
            }
            5 => {
                let path = format!("/allow/post/{number}");
                let len = 1 + size(random);
                let content = body(random, len);
                let mut request = format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\n{pad}content-length: {}\r\n\r\n",
                    content.len()
                )
                .into_bytes();
                let answer = response(random, false);
                if random.per_mille(200) {
                    // The final response comes before the content.
                    let wait = script.wait();
                    script.judged.push(path);
                    let early = script.at_server.len() + request.len();
                    request.extend(content);
                    script.at_server.extend(&request);
                    script.client.push(Write { after: wait, bytes: request });
                    script.server.push(Write { after: early, bytes: answer.clone() });
                    script.at_client.extend(answer);
                } else {
                    request.extend(content);
                    script.allowed(&path, &request, &answer);
                }
            }
            6 => {
                let path = format!("/allow/chunks/{number}");
                let len = size(random);
                let content = body(random, len);
                let mut request = format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\n{pad}transfer-encoding: chunked\r\n\r\n"
                )
                .into_bytes();
                request.extend(chunked(random, &content));
                let answer = response(random, false);
                script.allowed(&path, &request, &answer);
            }
            7 => {
                let path = format!("/allow/expect/{number}");
                let content = body(random, 500);
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
                    content.len()
                );
                script.judged.push(path);
                script.send(head.as_bytes());
                script.at_server.extend(head.as_bytes());
                script.answer(b"HTTP/1.1 100 Continue\r\n\r\n");
                let after = script.at_client.len();
                script.client.push(Write { after, bytes: content.clone() });
                script.at_server.extend(content);
                let answer = response(random, false);
                script.answer(&answer);
            }
            8..=9 => {
                let path = format!("/deny/{number}");
                let head = random.per_mille(300);
                let method = if head { "HEAD" } else { "GET" };
                let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{pad}\r\n");
                script.denied(&path, request.as_bytes(), head, false);
            }
            10 => {
                let path = format!("/deny/post/{number}");
                let len = 1 + random.below(5_000) as usize;
                let content = body(random, len);
                let mut request = format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\n{pad}content-length: {}\r\n\r\n",
                    content.len()
                )
                .into_bytes();
                request.extend(content);
                script.denied(&path, &request, false, false);
            }
            11 => {
                let path = format!("/deny/chunks/{number}");
                let content = body(random, 3_000);
                let mut request = format!(
                    "PUT {path} HTTP/1.1\r\nHost: a\r\n{pad}transfer-encoding: chunked\r\n\r\n"
                )
                .into_bytes();
                request.extend(chunked(random, &content));
                script.denied(&path, &request, false, true);
                break;
            }
            _ if last && random.per_mille(500) => {
                let path = "/allow/socket".to_owned();
                let request = "GET /allow/socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                               Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
                script.allowed(
                    &path,
                    request.as_bytes(),
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                );
                for _ in 0..1 + random.below(5) {
                    let len = 1 + size(random);
                    let content = body(random, len);
                    script.send(&content);
                    script.at_server.extend(&content);
                    let len = 1 + size(random);
                    let answer = body(random, len);
                    script.answer(&answer);
                }
                break;
            }
            _ if last => {
                let path = "/allow/until-close".to_owned();
                let request =
                    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{pad}\r\n");
                let len = size(random);
                let mut answer = b"HTTP/1.1 200 OK\r\nserver: model\r\n\r\n".to_vec();
                answer.extend(body(random, len));
                script.allowed(&path, request.as_bytes(), &answer);
                script.server_closes = true;
            }
            _ => {
                let path = format!("/allow/{number}");
                let request = format!("OPTIONS {path} HTTP/1.1\r\nHost: a\r\n\r\n");
                let answer = response(random, false);
                script.allowed(&path, request.as_bytes(), &answer);
            }
        }
    }
    script.half_close = random.per_mille(200);
    script
}
