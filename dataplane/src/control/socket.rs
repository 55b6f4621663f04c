//! The control socket: one JSON object a line in, one or more a line out. Only root can connect (mode 0600).

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    listing::{EndpointList, IdentityList, RuleList, SelectorList},
    question::{Asked, Told},
    status::Status,
};
use crate::config::PodPort;

/// How long either end waits for the other: the daemon has other work than a client that does not read.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a client can ask.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// Everything about the daemon.
    Status,
    /// Flow events: the last ones, then, if wanted, all that come.
    Observe {
        /// How many of the past.
        last: usize,
        /// Whether to go on with new ones.
        follow: bool,
        /// Hubble's JSON instead of lines.
        json: bool,
    },
    /// What becomes of a flow or a request, by the policy in force.
    Explain(Asked),
    /// Every endpoint.
    Endpoints,
    /// Every identity.
    Identities,
    /// Every rule, and what it did.
    Rules,
    /// Every selector, and whom it selects.
    Selectors,
    /// Takes over an interface.
    AddPort(PodPort),
    /// Gives an interface back to the kernel.
    RemovePort {
        /// Its name.
        interface: String,
    },
}

/// What the daemon answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Explain`].
    Explained {
        /// The answer.
        told: Box<Told>,
        /// The same for people.
        text: String,
    },
    /// To [`Request::Explain`], when nobody can answer what was asked.
    Wrong {
        /// What is wrong with the question, and what to ask instead.
        reason: String,
    },
    /// To [`Request::Endpoints`].
    Endpoints {
        /// All of them.
        list: EndpointList,
    },
    /// To [`Request::Identities`].
    Identities {
        /// All of them.
        list: IdentityList,
    },
    /// To [`Request::Rules`].
    Rules(RuleList),
    /// To [`Request::Selectors`].
    Selectors {
        /// All of them.
        list: SelectorList,
    },
    /// Done.
    Done,
    /// Refused, and why.
    Refused {
        /// What failed, on what, and what to do.
        reason: String,
    },
    /// One flow event, as a line of text or JSON.
    Flow {
        /// The line.
        line: String,
    },
}

/// The daemon cannot be reached, or spoke nonsense.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot reach the daemon at {path}: {source}; is `blastdoor run` running, and is this its socket?"
)]
pub struct SocketError {
    path: PathBuf,
    source: io::Error,
}

/// Opens the socket for clients, in place of one that a dead daemon left behind.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The daemon's end of a client.
#[derive(Debug)]
pub struct Client(BufReader<UnixStream>);

impl Client {
    /// A client that has just connected.
    pub fn accept(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The request.
    pub fn request(&mut self) -> io::Result<Request> {
        read(&mut self.0)
    }

    /// Sends an answer.
    pub fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        write(self.0.get_mut(), answer)
    }
}

/// A client's end: asks and hands every answer to `take` until it says that it has enough or the daemon has no more.
pub fn ask(
    path: &Path,
    request: &Request,
    mut take: impl FnMut(Answer) -> bool,
) -> Result<(), SocketError> {
    let refuse = |source| SocketError { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).map_err(refuse)?;
    write(&mut stream, request).map_err(refuse)?;
    let mut reader = BufReader::new(stream);
    loop {
        match read(&mut reader) {
            Ok(answer) => {
                if !take(answer) {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(refuse(error)),
        }
    }
}

fn read<T: DeserializeOwned>(reader: &mut impl BufRead) -> io::Result<T> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_str(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn write(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(message).map_err(io::Error::other)?;
    line.push('\n');
    stream.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_gets_its_answers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = listen(&path).unwrap();
        listener.set_nonblocking(false).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = Client::accept(listener.accept().unwrap().0).unwrap();
                let request = client.request().unwrap();
                assert!(matches!(request, Request::Observe { last: 3, follow: false, json: true }));
                client.answer(&Answer::Flow { line: "one".into() }).unwrap();
                client.answer(&Answer::Flow { line: "two".into() }).unwrap();
            });
            let mut lines = Vec::new();
            ask(&path, &Request::Observe { last: 3, follow: false, json: true }, |answer| {
                if let Answer::Flow { line } = answer {
                    lines.push(line);
                }
                true
            })
            .unwrap();
            assert_eq!(lines, ["one", "two"]);
        });
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(listen(&path).unwrap());
        let living = listen(&path).unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(living);
    }

    #[test]
    fn nobody_but_the_owner_may_connect() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_absent_daemon_is_named() {
        let error =
            ask(Path::new("/no/such/socket"), &Request::Status, |_| true).unwrap_err().to_string();
        assert!(error.contains("/no/such/socket") && error.contains("blastdoor run"), "{error}");
    }
}
