//! The daemon: owns the UMEM, the ports and the policy, and runs the control loop until it is told to stop.

mod survey;
mod tools;

use std::{
    collections::{HashSet, VecDeque},
    io::{self, Read},
    net::IpAddr,
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use crossbeam::{
    channel::{Receiver, Sender, bounded, unbounded},
    queue::ArrayQueue,
};
use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use xdp_redirect::{Fallback, Role, mount_bpffs};

use super::{
    attach::{AttachError, Attached, attach},
    journal,
    netlink::{LinkWatch, Netlink, NetlinkError},
    policy::{Changed, Policy},
    preflight,
    socket::{self, Answer, Client, Request},
    watch::{DirectoryWatch, WatchError},
};
use crate::{
    config::{Config, PodPort, UplinkFallback},
    flow::{Flow, FlowEvent},
    hits::{HitBook, Hits},
    umem::{
        Frame,
        kernel::{Sockets, Umem, UmemError},
        pool,
    },
    worker::{
        Command, Observers, PortId, Reporting, Worker, WorkerId, affinity::spawn_pinned,
        clock::Clock, handoff::Inbox, wakeup::Rest,
    },
    world::{PortKind, PortView, World},
};

/// Flow events between the workers and the control thread.
const EVENT_QUEUE: usize = 4096;

/// Flow events kept for `observe --last`.
const EVENT_HISTORY: usize = 4096;

/// How often flow events are taken out.
const EVENT_PERIOD: Duration = Duration::from_millis(100);

/// How long a worker may take to answer; a turn takes microseconds.
const WORKER_PATIENCE: Duration = Duration::from_secs(2);

const SOCKET: Token = Token(0);
const SIGNAL: Token = Token(1);
const WATCH: Token = Token(2);

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A privilege or a kernel feature is missing.
    #[error(transparent)]
    Missing(#[from] preflight::Missing),
    /// The UMEM could not be had.
    #[error(transparent)]
    Umem(#[from] UmemError),
    /// A port could not be taken over.
    #[error("port {interface}: {source}")]
    Attach {
        /// The interface.
        interface: String,
        /// Why.
        source: AttachError,
    },
    /// The snapshot directory cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Interfaces, addresses or routes.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Anything else that the system refused.
    #[error("cannot {action} {path}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn system(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> RunError {
    let path = path.into();
    move |source| RunError::System { action, path, source }
}

/// A worker as the control thread sees it.
#[derive(Debug)]
struct Hand {
    core: usize,
    pinned: Arc<std::sync::atomic::AtomicBool>,
    commands: Sender<Command<Sockets>>,
    inbox: Arc<Inbox>,
    thread: JoinHandle<()>,
}

impl Hand {
    fn tell(&self, command: Command<Sockets>) {
        // A worker that is gone answers nothing; its thread's end is noticed when it is joined.
        let _gone = self.commands.send_timeout(command, WORKER_PATIENCE);
        self.inbox.ring();
    }
}

/// The daemon.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    umem: Umem,
    reserve: Arc<ArrayQueue<Frame>>,
    netlink: Netlink,
    links: LinkWatch,
    policy: Policy,
    watch: DirectoryWatch,
    hands: Vec<Hand>,
    ports: Vec<Option<Attached>>,
    /// What the workers read, and what some of them may read yet.
    world: Arc<World>,
    retired: Vec<Arc<World>>,
    host_addresses: Vec<IpAddr>,
    routed: HashSet<IpAddr>,
    started: SystemTime,
    events: Arc<ArrayQueue<FlowEvent>>,
    history: VecDeque<FlowEvent>,
    observers: Arc<Observers>,
    followers: Vec<(Client, bool)>,
    hits: HitBook,
    retired_hits: Receiver<Hits>,
    node: String,
}

impl Daemon {
    /// Brings everything up: UMEM, workers, host port, pods' ports, policy. Frames flow when it returns.
    pub fn start(config: Config) -> Result<Self, RunError> {
        preflight::check()?;
        std::fs::create_dir_all(&config.state)
            .map_err(system("create the state directory", &config.state))?;
        let pins = config.pins();
        mount_bpffs(&pins).map_err(system("mount a bpffs at", &pins))?;
        let mut netlink = Netlink::open()?;
        let links = LinkWatch::open()?;
        let (umem, frames) = Umem::register(config.umem.frames)?;
        let reserve = pool::reserve(frames);
        let clock = Clock::start();
        let events = Arc::new(ArrayQueue::new(EVENT_QUEUE));
        let observers = Arc::new(Observers::default());
        let (hits, retired_hits) = unbounded();
        let reporting =
            Reporting { events: Arc::clone(&events), observers: Arc::clone(&observers), hits };
        let hands = start_workers(&config, &reserve, clock, &reporting)?;
        let policy = Policy::new(&config);
        // Watched before it is read, so that no change in between is missed.
        let watch = DirectoryWatch::open(&config.snapshot)?;
        let host_addresses = netlink.addresses()?;
        let node = nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_default();
        let mut daemon = Self {
            config,
            umem,
            reserve,
            netlink,
            links,
            policy,
            watch,
            hands,
            ports: Vec::new(),
            world: Arc::new(World::new(0, None, Vec::new(), Vec::new())),
            retired: Vec::new(),
            host_addresses,
            routed: HashSet::new(),
            started: SystemTime::now(),
            events,
            history: VecDeque::with_capacity(EVENT_HISTORY),
            observers,
            followers: Vec::new(),
            hits: HitBook::default(),
            retired_hits,
            node,
        };
        daemon.attach_all()?;
        daemon.reload(&Changed::Anything);
        Ok(daemon)
    }

    /// Serves until SIGTERM or SIGINT.
    pub fn run(mut self) -> Result<(), RunError> {
        let state = self.config.state.clone();
        let socket = self.config.socket();
        let listener = socket::listen(&socket).map_err(system("listen on", &socket))?;
        let (mut signalled, signal) =
            UnixStream::pair().map_err(system("make a signal pipe in", &state))?;
        signalled.set_nonblocking(true).map_err(system("make a signal pipe in", &state))?;
        for number in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            let pipe = signal.try_clone().map_err(system("make a signal pipe in", &state))?;
            signal_hook::low_level::pipe::register(number, pipe)
                .map_err(system("catch signals for", &state))?;
        }
        let mut poll = Poll::new().map_err(system("poll in", &state))?;
        let descriptors: [(RawFd, Token); 3] = [
            (listener.as_raw_fd(), SOCKET),
            (signalled.as_raw_fd(), SIGNAL),
            (self.watch.fd(), WATCH),
        ];
        for (descriptor, token) in descriptors {
            poll.registry()
                .register(&mut SourceFd(&descriptor), token, Interest::READABLE)
                .map_err(system("poll in", &state))?;
        }
        journal::say(format_args!(
            "ready: {} ports, {} workers, control socket {}",
            self.ports.iter().flatten().count(),
            self.hands.len(),
            socket.display()
        ));
        let mut events = Events::with_capacity(16);
        loop {
            let now = now();
            let timeout = self.watch.due(now).map_or(EVENT_PERIOD, |due| due.min(EVENT_PERIOD));
            match poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(system("poll in", &state)(error));
                }
                _ => {}
            }
            if signalled.read(&mut [0; 8]).is_ok_and(|count| count > 0) {
                break;
            }
            self.watch.look(self::now());
            if let Some(changed) = self.watch.settled(self::now()) {
                self.reload(&changed);
            }
            // A world is taken apart here and not by the worker that happens to leave it last.
            self.retired.retain(|world| Arc::strong_count(world) > 1);
            self.remove_dead_ports();
            self.drain_events();
            self.absorb_hits();
            self.serve(&listener);
        }
        self.stop();
        let _removed = std::fs::remove_file(&socket);
        Ok(())
    }

    /// Ends the workers and gives their frames back. The programs stay on their interfaces and drop: a daemon that is replaced must
    /// not open the door in between (`blastdoor release` does).
    fn stop(mut self) {
        for hand in &self.hands {
            hand.tell(Command::Stop);
        }
        for hand in self.hands.drain(..) {
            let _panicked = hand.thread.join();
        }
        journal::say(format_args!(
            "stopped; the ports stay closed until a daemon runs again or `blastdoor release`"
        ));
    }

    fn attach_all(&mut self) -> Result<(), RunError> {
        if let Some(host) = self.config.host.clone() {
            self.attach_host(&host)?;
        }
        if let Some(uplink) = self.config.uplink.clone() {
            let fallback = match uplink.fallback {
                UplinkFallback::Drop => Fallback::Drop,
                UplinkFallback::Pass => Fallback::Pass,
            };
            self.attach(&uplink.interface, PortKind::Uplink, Role::Uplink { fallback }, None)?;
        }
        for port in self.config.ports.clone() {
            self.attach(&port.interface, PortKind::Pod, Role::Pod, Some(port.pod))?;
        }
        Ok(())
    }

    /// Makes the veth into the node's stack, or finds the one of an earlier daemon, and takes over our end.
    fn attach_host(&mut self, host: &crate::config::Host) -> Result<(), RunError> {
        let peer = host.peer();
        match self.netlink.interface(&host.interface) {
            Err(error) if error.is_missing() => {
                let queues = u32::try_from(self.hands.len()).unwrap_or(1);
                self.netlink.make_veth(&host.interface, &peer, host.mtu, queues)?
            }
            other => drop(other?),
        }
        let node_end = self.netlink.interface(&host.interface)?;
        for &address in &host.addresses {
            self.netlink.add_address(node_end.index, address)?;
        }
        let position = self.attach(&peer, PortKind::Host, Role::Pod, None)?;
        // Both ends of this veth are ours, so its other end need not be learned.
        if let Some(port) = self.ports.get(position).and_then(Option::as_ref) {
            port.neighbour.learn(node_end.mac);
        }
        self.host_addresses = self.netlink.addresses()?;
        Ok(())
    }

    /// Takes over one interface; its place in `ports`.
    fn attach(
        &mut self,
        name: &str,
        kind: PortKind,
        role: Role,
        pod: Option<String>,
    ) -> Result<usize, RunError> {
        let workers = u16::try_from(self.hands.len()).unwrap_or(1);
        let position = self.ports.iter().position(Option::is_none).unwrap_or(self.ports.len());
        // The host port and the uplink are two ways to the same peers, so one worker must see both.
        let home = match kind {
            PortKind::Host | PortKind::Uplink => WorkerId(0),
            PortKind::Pod => WorkerId(u16::try_from(position).unwrap_or(0) % workers),
        };
        let pins = self.config.pins();
        let (attached, sockets) = attach(
            &mut self.netlink,
            &mut self.umem,
            &pins,
            name,
            (kind, role, pod),
            (home, workers),
        )
        .map_err(|source| RunError::Attach { interface: name.to_owned(), source })?;
        if attached.program.mode() == xdp_redirect::Mode::Generic {
            journal::say(format_args!(
                "port {name}: the driver has no native XDP, using generic mode, which is slower"
            ));
        }
        let id = PortId(u16::try_from(position).unwrap_or(u16::MAX));
        for (worker, sockets) in sockets {
            if let Some(hand) = self.hands.get(usize::from(worker.0)) {
                hand.tell(Command::AddPort {
                    port: id,
                    fd: Some(sockets.fd()),
                    sockets,
                    receives: worker == home,
                });
            }
        }
        if position == self.ports.len() {
            self.ports.push(None);
        }
        if let Some(slot) = self.ports.get_mut(position) {
            *slot = Some(attached);
        }
        Ok(position)
    }

    /// Takes a port away from the workers; its program stays unless `detach`.
    fn remove(&mut self, position: usize, detach: bool) {
        let Some(port) = self.ports.get_mut(position).and_then(Option::take) else { return };
        let id = PortId(u16::try_from(position).unwrap_or(u16::MAX));
        // First a world without the port, so that nobody sends to it, then the sockets.
        self.publish();
        let (sender, receiver) = bounded(self.hands.len().max(1));
        for hand in &self.hands {
            hand.tell(Command::RemovePort { port: id, back: sender.clone() });
        }
        drop(sender);
        while let Ok(sockets) = receiver.recv_timeout(WORKER_PATIENCE) {
            for frame in sockets.close() {
                if let Err(frame) = self.reserve.push(frame) {
                    drop(frame);
                }
            }
        }
        if detach {
            let name = port.interface.name.clone();
            if let Err(error) = port.program.detach() {
                journal::say(format_args!("port {name}: cannot take the XDP program off: {error}"));
            }
        }
    }

    fn remove_dead_ports(&mut self) {
        for index in self.links.deleted() {
            let found = self
                .ports
                .iter()
                .position(|port| port.as_ref().is_some_and(|port| port.interface.index == index));
            if let Some(position) = found {
                let name = self
                    .ports
                    .get(position)
                    .and_then(Option::as_ref)
                    .map(|port| port.interface.name.clone());
                journal::say(format_args!(
                    "port {}: the interface is gone",
                    name.unwrap_or_default()
                ));
                self.remove(position, true);
            }
        }
    }

    /// Reads the snapshot directory and publishes what it says, or keeps the old policy and says why.
    fn reload(&mut self, changed: &Changed) {
        if self.policy.reload(changed, &self.host_addresses) {
            let status = self.policy.status();
            journal::say(format_args!(
                "policy epoch {}: {} policies",
                status.epoch, status.policies
            ));
            self.publish();
        } else {
            for reason in self.policy.refused() {
                journal::say(format_args!("snapshot refused, the policy in force stays: {reason}"));
            }
        }
    }

    /// Makes a new world of the policy and the ports and hands it to every worker.
    fn publish(&mut self) {
        let table = self.policy.table().cloned();
        let views =
            self.ports.iter().map(|port| port.as_ref().map(|port| self.view(port))).collect();
        let gateways =
            self.config.host.iter().flat_map(|host| host.gateways().collect::<Vec<_>>()).collect();
        let world = Arc::new(self.world.next(table, views, gateways));
        // Before the workers see it: none of them builds an automaton in the middle of packets.
        world.warm();
        for hand in &self.hands {
            hand.tell(Command::World(Arc::clone(&world)));
        }
        self.set_routes(&world);
        self.set_taken_addresses(&world);
        self.retired.push(std::mem::replace(&mut self.world, world));
    }

    fn view(&self, port: &Attached) -> PortView {
        let endpoint = port
            .pod
            .as_deref()
            .and_then(|pod| pod.split_once('/'))
            .and_then(|(namespace, name)| self.policy.table()?.endpoint_named(namespace, name));
        PortView {
            name: port.interface.name.clone(),
            kind: port.kind,
            mac: port.interface.mac,
            neighbour: Arc::clone(&port.neighbour),
            home: port.home,
            mtu: port.interface.mtu as usize,
            endpoint,
        }
    }

    /// Routes of the node's stack: every pod here and every service through the host port.
    fn set_routes(&mut self, world: &World) {
        let Some(host) = self.config.host.as_ref().map(|host| host.interface.clone()) else {
            return;
        };
        let Ok(interface) = self.netlink.interface(&host) else { return };
        let wanted: HashSet<IpAddr> = world.addresses().into_iter().collect();
        for &address in wanted.iter().filter(|address| !self.routed.contains(address)) {
            if let Err(error) = self.netlink.add_route(address, interface.index) {
                journal::say(format_args!("host port: {error}"));
            }
        }
        for &address in self.routed.iter().filter(|address| !wanted.contains(address)) {
            if let Err(error) = self.netlink.remove_route(address, interface.index) {
                journal::say(format_args!("host port: {error}"));
            }
        }
        self.routed = wanted;
    }

    /// Addresses that the uplink's program takes: the same.
    fn set_taken_addresses(&mut self, world: &World) {
        let wanted: HashSet<IpAddr> = world.addresses().into_iter().collect();
        for port in self.ports.iter_mut().flatten().filter(|port| port.kind == PortKind::Uplink) {
            let taken = std::mem::take(&mut port.taken);
            let outcome = wanted
                .iter()
                .filter(|address| !taken.contains(address))
                .try_for_each(|&address| port.program.take_address(address))
                .and_then(|()| {
                    taken
                        .iter()
                        .filter(|address| !wanted.contains(address))
                        .try_for_each(|&address| port.program.leave_address(address))
                });
            if let Err(error) = outcome {
                journal::say(format_args!("uplink: {error}"));
            }
            port.taken.clone_from(&wanted);
        }
    }

    fn serve(&mut self, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            let Ok(mut client) = Client::accept(stream) else { continue };
            let Ok(request) = client.request() else { continue };
            let answer = match request {
                Request::Status => Answer::Status(Box::new(self.status())),
                Request::Observe { last, follow, json } => {
                    self.observe(client, last, follow, json);
                    continue;
                }
                Request::Explain(asked) => self.explain(&asked),
                Request::Endpoints => self.endpoints(),
                Request::Identities => self.identities(),
                Request::Rules => self.rules(),
                Request::Selectors => self.selectors(),
                Request::AddPort(port) => self.add_port(port),
                Request::RemovePort { interface } => self.remove_port(&interface),
            };
            // A client that left does not care.
            let _left = client.answer(&answer);
        }
    }

    fn add_port(&mut self, port: PodPort) -> Answer {
        if self.ports.iter().flatten().any(|known| known.interface.name == port.interface) {
            return Answer::Refused { reason: format!("port {} exists already", port.interface) };
        }
        match self.attach(&port.interface, PortKind::Pod, Role::Pod, Some(port.pod)) {
            Ok(_) => {
                self.publish();
                Answer::Done
            }
            Err(error) => Answer::Refused { reason: error.to_string() },
        }
    }

    fn remove_port(&mut self, interface: &str) -> Answer {
        let found = self.ports.iter().position(|port| {
            port.as_ref()
                .is_some_and(|port| port.kind == PortKind::Pod && port.interface.name == interface)
        });
        match found {
            Some(position) => {
                self.remove(position, true);
                Answer::Done
            }
            None => Answer::Refused {
                reason: format!("there is no pod port {interface}; see `blastdoor status`"),
            },
        }
    }

    fn observe(&mut self, mut client: Client, last: usize, follow: bool, json: bool) {
        self.drain_events();
        let skip = self.history.len().saturating_sub(last);
        for event in self.history.iter().skip(skip) {
            let Some(answer) = self.flow(event, json) else { continue };
            if client.answer(&answer).is_err() {
                return;
            }
        }
        if follow {
            self.followers.push((client, json));
            self.observers.following.store(true, Ordering::Relaxed);
        }
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.events.pop() {
            let mut followers = std::mem::take(&mut self.followers);
            followers.retain_mut(|(client, json)| {
                self.flow(&event, *json).is_none_or(|answer| client.answer(&answer).is_ok())
            });
            self.observers.following.store(!followers.is_empty(), Ordering::Relaxed);
            self.followers = followers;
            if self.history.len() == EVENT_HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(event);
        }
    }

    fn flow(&self, event: &FlowEvent, json: bool) -> Option<Answer> {
        let table = self.policy.table()?;
        let time = self.started + Duration::from_millis(event.tick.0);
        let flow = Flow { event, time, table, node: &self.node };
        let line = if json { flow.json().to_string() } else { flow.line() };
        Some(Answer::Flow { line })
    }
}

/// Starts one worker for each core of the configuration.
fn start_workers(
    config: &Config,
    reserve: &Arc<ArrayQueue<Frame>>,
    clock: Clock,
    reporting: &Reporting,
) -> Result<Vec<Hand>, RunError> {
    let cores = &config.workers.cores;
    let mut rests = Vec::new();
    for _ in cores {
        rests.push(
            Rest::new(config.workers.spin())
                .map_err(system("make a worker's poll in", &config.state))?,
        );
    }
    let inboxes: Vec<Arc<Inbox>> = rests.iter().map(Rest::inbox).collect();
    let mut hands = Vec::new();
    for (number, (&core, rest)) in cores.iter().zip(rests).enumerate() {
        let id = WorkerId(u16::try_from(number).unwrap_or(u16::MAX));
        let (commands, orders) = bounded(64);
        let inbox = rest.inbox();
        let settings = crate::worker::Settings {
            limits: config.inspect.limits(),
            budgets: config.budgets,
            leases: config.dns.leases(),
        };
        let pool = pool::Pool::new(Arc::clone(reserve));
        let worker = Worker::new(id, clock, pool, inboxes.clone(), reporting.clone(), settings);
        let pinned = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let unpinned = Arc::clone(&pinned);
        let thread = spawn_pinned(
            &format!("worker-{number}"),
            core,
            move || unpinned.store(false, Ordering::Relaxed),
            move || worker.run(rest, &orders),
        )
        .map_err(system("start a worker in", &config.state))?;
        hands.push(Hand { core, pinned, commands, inbox, thread });
    }
    Ok(hands)
}

/// The time, for the control plane: it is not on the packet path.
#[expect(clippy::disallowed_methods, reason = "the control thread is not on the packet path")]
fn now() -> Instant {
    Instant::now()
}
