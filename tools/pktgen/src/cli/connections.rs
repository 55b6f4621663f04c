//! `connect` and `serve`.

use clap::ArgGroup;
use parser::ethernet::MacAddress;
use pktgen::{
    client::{Client, Question, Script, Targets},
    clock, http,
    link::{Link, Place},
    load::{self, Plan, Side},
    load_report::Connections,
    mac, mix,
    pace::{Limit, Pacer},
    progress::LoadProgress,
    rate::Rate,
    receive::Addresses,
    server::Server,
};

use super::{Failure, OutputArgs, nanos, stop_on_signal};

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("limit").required(true).multiple(true).args(["count", "seconds"])))]
pub(super) struct ConnectArgs {
    /// The client's interface: every frame of it is taken while this runs
    #[arg(long)]
    interface: Place,
    /// The server's interface, to answer from this process too
    #[arg(long)]
    serve_on: Option<Place>,
    /// The station that takes the client's packets on
    #[arg(long, value_parser = mac::parse)]
    destination_mac: MacAddress,
    /// The client's addresses: an address, a range or a list
    #[arg(long)]
    source: String,
    /// The servers' addresses, likewise
    #[arg(long)]
    destination: String,
    /// The addresses that the server behind --serve-on has, if a service translates them [default: the destination's]
    #[arg(long, requires = "serve_on")]
    serve_as: Option<String>,
    /// The servers' port
    #[arg(long, default_value_t = 80)]
    dst_port: u16,
    /// Connections at once, at most
    #[arg(long, default_value_t = 1)]
    concurrent: u64,
    /// Connections opened per second: 1000, 5k, a ramp 1k..10k, or max
    #[arg(long, default_value = "max")]
    rate: Rate,
    /// Requests over one connection, one after another; 0 to connect and close only, `unlimited` until the end
    #[arg(long, default_value = "1")]
    requests: Requests,
    /// Keep connections open when their requests are done
    #[arg(long)]
    hold: bool,
    /// An allowed request, as "GET /public"; may be given several times
    #[arg(long, default_value = "GET /")]
    allowed: Vec<String>,
    /// A request that policy denies with 403, likewise
    #[arg(long)]
    denied: Vec<String>,
    /// How many of a hundred requests are denied ones
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100), requires = "denied")]
    denied_share: u8,
    /// The host that requests are for
    #[arg(long, default_value = "pktgen")]
    host: String,
    /// Bytes of a response's body, with --serve-on
    #[arg(long, default_value_t = 70)]
    body: usize,
    /// Stop after this many connections
    #[arg(long)]
    count: Option<u64>,
    /// Stop after this many seconds
    #[arg(long, value_parser = nanos)]
    seconds: Option<u64>,
    /// Decides sequence numbers and the order of requests
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// The server's interface: every frame of it is taken while this runs
    #[arg(long)]
    interface: Place,
    /// The server's addresses: an address, a range or a list [default: the kernel's in this namespace]
    #[arg(long)]
    address: Option<String>,
    /// Bytes of a response's body
    #[arg(long, default_value_t = 70)]
    body: usize,
    /// Stop after this many seconds
    #[arg(long, value_parser = nanos)]
    seconds: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Requests over one connection.
#[derive(Clone, Copy, Debug)]
struct Requests(Option<u32>);

impl std::str::FromStr for Requests {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "unlimited" => Ok(Self(None)),
            number => number
                .parse()
                .map(|number| Self(Some(number)))
                .map_err(|_no_number| "write a number, or unlimited".to_owned()),
        }
    }
}

fn questions(texts: &[String], host: &str, is_denied: bool) -> Result<Vec<Question>, Failure> {
    let question = |text: &String| {
        let (method, target) = text
            .split_once(' ')
            .filter(|(method, target)| {
                !method.is_empty()
                    && target.starts_with('/')
                    && !target.contains(char::is_whitespace)
            })
            .ok_or_else(|| Failure::wrong(format!("`{text}`: write a request as \"GET /path\"")))?;
        Ok(Question { request: http::request(method, target, host), is_denied })
    };
    texts.iter().map(question).collect()
}

pub(super) fn connect(args: &ConnectArgs) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let (sources, is_ipv6) = mix::addresses(&args.source).map_err(Failure::wrong)?;
    let (destinations, to_ipv6) = mix::addresses(&args.destination).map_err(Failure::wrong)?;
    if is_ipv6 != to_ipv6 {
        return Err(Failure::wrong("--source and --destination must be of the same IP version"));
    }
    let served = match &args.serve_as {
        Some(text) => {
            let (values, is_ipv6) = mix::addresses(text).map_err(Failure::wrong)?;
            Addresses::new(is_ipv6, values)
        }
        None => Addresses::new(is_ipv6, destinations.clone()),
    };
    let limit = Limit { count: args.count, time: args.seconds };
    let targets = Targets { is_ipv6, sources: sources.clone(), destinations, port: args.dst_port };
    if args.concurrent > targets.most() {
        let most = targets.most();
        return Err(Failure::wrong(format!(
            "{} connections at once need more source addresses: these have ports for {most}",
            args.concurrent
        )));
    }
    let script = Script {
        requests: args.requests.0,
        allowed: questions(&args.allowed, &args.host, false)?,
        denied: questions(&args.denied, &args.host, true)?,
        denied_share: args.denied_share,
        holds: args.hold,
        seed: args.seed,
    };
    let mut serving = match &args.serve_on {
        Some(place) => Some(Link::open(place, 0, true)?),
        None => None,
    };
    let mut link = Link::open(&args.interface, 0, true)?;
    let mut server = match &mut serving {
        Some(link) => Some(Side::new(link, Server::new(served, args.body), !args.seed)?),
        None => None,
    };
    let client = Client::new(Addresses::new(is_ipv6, sources), script);
    let mut client = Side::new(&mut link, client, args.seed)?;
    let mut plan = Plan {
        targets,
        gateway: args.destination_mac,
        concurrent: args.concurrent.max(1),
        pacer: Pacer::new(args.rate, 1, limit),
        limit,
    };
    let mut progress = LoadProgress::default();
    let course = load::load(&mut client, server.as_mut(), &mut plan, &stop, &mut |sample| {
        progress.show(sample);
    });
    progress.end();
    let server = server.as_ref().map(|server| (&*server.link, server.stack.role.served));
    args.output.print(&Connections::new(&course?, Some(client.link), server))
}

pub(super) fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let mut link = Link::open(&args.interface, 0, true)?;
    let addresses = match &args.address {
        Some(text) => {
            let (values, is_ipv6) = mix::addresses(text).map_err(Failure::wrong)?;
            Addresses::new(is_ipv6, values)
        }
        None => Addresses::listed(&link.addresses),
    };
    let server = Server::new(addresses, args.body);
    let mut server = Side::new(&mut link, server, clock::now())?;
    let limit = Limit { count: None, time: args.seconds };
    let course = load::serve(&mut server, limit, &stop)?;
    let served = server.stack.role.served;
    args.output.print(&Connections::new(&course, None, Some((server.link, served))))
}
