//! The real UMEM and the AF_XDP sockets on it (xsk-rs).
//!
//! The control thread makes them, because creating a socket waits for RCU (about 20 ms); a worker then owns a [`Sockets`] and is
//! the only one to touch its rings. Every descriptor that comes from the kernel is bounds-checked before it becomes a frame.
#![expect(unsafe_code, reason = "rings and UMEM are shared with the kernel")]

use std::{
    io,
    num::NonZeroU32,
    os::fd::{AsRawFd, RawFd},
    ptr::NonNull,
    sync::Arc,
};

use xsk_rs::{
    CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue,
    config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig},
};

use super::{
    assembly::{Assembly, Refused},
    frame::{CAPACITY, FRAME_SIZE, Frame, HEADROOM, Region, RingId},
    pool::Pool,
    port::{Port, PortFrames, PortGone},
    share::{self, Share, Shares},
};

/// Entries of every ring of a port.
pub const RING_SIZE: u32 = 2048;
const _: () = assert!(share::LARGEST < RING_SIZE as usize);

/// [`FRAME_SIZE`] as the kernel's interface wants it.
const FRAME_BYTES: u32 = 4096;
const _: () = assert!(FRAME_BYTES as usize == FRAME_SIZE);

/// Descriptors moved in one go between a ring and the worker.
const CHUNK: usize = 64;

/// `SOL_XDP` and `XDP_MAX_TX_SKB_BUDGET` (include/linux/socket.h, include/uapi/linux/if_xdp.h): packets that one wake-up may
/// send. The kernel's default of 32 would leave the rest of a batch in the ring.
const SOL_XDP: libc::c_int = 283;
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// `XDP_OPTIONS` and its only flag: whether the socket is in zero-copy mode (include/uapi/linux/if_xdp.h).
const XDP_OPTIONS: libc::c_int = 8;
const XDP_OPTIONS_ZEROCOPY: u32 = 1;
/// `XDP_PKT_CONTD`: the packet goes on in the next descriptor.
const XDP_PKT_CONTD: u32 = 1;
const SIZE_OF_U32: libc::socklen_t = 4;

/// Why the memory or a socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum UmemError {
    /// The kernel would not lock the memory.
    #[error(
        "cannot register {mib} MiB of UMEM: {source}; it needs CAP_IPC_LOCK (run as root) or a larger RLIMIT_MEMLOCK, or lower `umem.frames`"
    )]
    Register {
        /// The size asked for.
        mib: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket could not be made or bound, neither zero-copy nor copy.
    #[error(
        "cannot bind an AF_XDP socket to {interface} queue {queue}: {source}; it needs CAP_NET_RAW and a kernel with CONFIG_XDP_SOCKETS"
    )]
    Bind {
        /// The interface's name.
        interface: String,
        /// The queue.
        queue: u32,
        /// What the kernel said of the copy mode, which was tried last.
        source: io::Error,
    },
    /// libxdp gave a socket without its own fill and completion ring.
    #[error("{interface} queue {queue} is already bound by this process")]
    AlreadyBound {
        /// The interface's name.
        interface: String,
        /// The queue.
        queue: u32,
    },
}

/// The UMEM of the daemon, from which all sockets are made.
#[derive(Debug)]
pub struct Umem {
    umem: xsk_rs::Umem,
    region: &'static Region,
    /// The descriptor of every chunk, by index, packet at the headroom.
    descriptors: &'static [FrameDesc],
    next_ring: u16,
    shares: Arc<Shares>,
}

/// Whether the kernel copies packets between the driver and the UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMode {
    /// The driver's own buffers are the UMEM.
    ZeroCopy,
    /// The kernel copies once on receive and builds a socket buffer on send; the only mode on veth.
    Copy,
}

impl CopyMode {
    /// The word shown to users.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
        }
    }
}

/// Packets that reached the interface and not its socket (`xdp_statistics`, include/uapi/linux/if_xdp.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// The rx ring was full: its reader was too slow.
    pub rx_ring_full: u64,
    /// The fill ring was empty: its owner had no free frame.
    pub fill_ring_empty: u64,
    /// A packet larger than a frame, or, in copy mode, one for which there was no frame: counted here once more.
    pub other: u64,
}

impl Missed {
    /// Each packet counted once: in copy mode the kernel counts one without a frame in both of the latter.
    pub fn packets(self) -> u64 {
        self.rx_ring_full + self.other.max(self.fill_ring_empty)
    }
}

impl Umem {
    /// Registers memory for `frames` chunks; returns it with all its frames.
    pub fn register(frames: NonZeroU32) -> Result<(Self, Vec<Frame>), UmemError> {
        let mib = (frames.get() as usize * FRAME_SIZE) >> 20;
        let queue_size = |size| QueueSize::new(size).map_err(|error| invalid(mib, &error));
        let config = UmemConfig::builder()
            .frame_size(FrameSize::new(FRAME_BYTES).map_err(|error| invalid(mib, &error))?)
            .fill_queue_size(queue_size(RING_SIZE)?)
            .comp_queue_size(queue_size(RING_SIZE)?)
            .build()
            .map_err(|error| invalid(mib, &error))?;
        let (umem, descriptors) = xsk_rs::Umem::new(config, frames, false)
            .map_err(|error| UmemError::Register { mib, source: os_error(&error) })?;
        let descriptors: &'static [FrameDesc] = descriptors.leak();
        // A second handle keeps the memory mapped for as long as the process lives: frames carry no lifetime.
        let kept: &'static xsk_rs::Umem = Box::leak(Box::new(umem.clone()));
        let mut first = descriptors.first().copied().unwrap_or_default();
        // SAFETY: the descriptor belongs to this UMEM, and nothing has been given to the kernel yet.
        let data = unsafe { kept.data_mut(&mut first) }.contents_mut().as_mut_ptr();
        let start = NonNull::new(data.wrapping_sub(HEADROOM))
            .ok_or_else(|| invalid(mib, &"null mapping"))?;
        // SAFETY: xsk-rs mapped `frames` chunks of FRAME_SIZE bytes there, packet data HEADROOM bytes in; `kept` is never
        // dropped, and all access to the memory goes through frames from here on.
        let region: &'static Region =
            Box::leak(Box::new(unsafe { Region::new(start, frames.get()) }));
        let all = region.all_frames();
        let shares = Shares::new(all.len());
        Ok((Self { umem, region, descriptors, next_ring: 1, shares }, all))
    }

    /// The memory behind it.
    pub fn region(&self) -> &'static Region {
        self.region
    }

    /// Makes and binds a socket on one queue of an interface: zero-copy if the driver can, else copy. `receives` says whether
    /// frames are to be received on it; otherwise it only sends.
    pub fn bind(
        &mut self,
        interface: &str,
        queue: u32,
        receives: bool,
    ) -> Result<(Sockets, CopyMode), UmemError> {
        let bind_error =
            |source| UmemError::Bind { interface: interface.to_owned(), queue, source };
        let name: Interface = interface
            .parse()
            .map_err(|error| bind_error(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let size =
            QueueSize::new(RING_SIZE).map_err(|error| bind_error(io::Error::other(error)))?;
        let config = |mode| {
            SocketConfig::builder()
                .rx_queue_size(size)
                .tx_queue_size(size)
                .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
                .bind_flags(mode | BindFlags::XDP_USE_NEED_WAKEUP | BindFlags::XDP_USE_SG)
                .build()
        };
        let mut made = None;
        let mut refusal = io::Error::from(io::ErrorKind::Unsupported);
        for flag in [BindFlags::XDP_ZEROCOPY, BindFlags::XDP_COPY] {
            // SAFETY: XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD is set, as a shared UMEM needs.
            match unsafe { xsk_rs::Socket::new(config(flag), &self.umem, &name, queue) } {
                Ok(rings) => {
                    made = Some(rings);
                    break;
                }
                Err(error) => refusal = os_error(&error),
            }
        }
        let Some((tx, rx, rings)) = made else { return Err(bind_error(refusal)) };
        let Some((fill, completion)) = rings else {
            return Err(UmemError::AlreadyBound { interface: interface.to_owned(), queue });
        };
        raise_tx_budget(tx.fd().as_raw_fd()).map_err(bind_error)?;
        let mode = copy_mode(tx.fd().as_raw_fd()).map_err(bind_error)?;
        let ring = RingId(self.next_ring);
        self.next_ring = self.next_ring.checked_add(1).unwrap_or(1);
        let rings = Rings { rx, fill, tx, completion };
        let sockets = Sockets {
            umem: self.umem.clone(),
            region: self.region,
            descriptors: self.descriptors,
            ring,
            rings,
            share: receives.then(|| self.shares.join()),
            filled: 0,
            sent: 0,
            queued: Vec::with_capacity(RING_SIZE as usize),
            assembly: Assembly::default(),
        };
        Ok((sockets, mode))
    }
}

/// Allows one wake-up to send a whole ring.
fn raise_tx_budget(fd: RawFd) -> io::Result<()> {
    let budget = RING_SIZE;
    // SAFETY: the option takes a u32, and `budget` is one that lives during the call.
    let result = unsafe {
        libc::setsockopt(
            fd,
            SOL_XDP,
            XDP_MAX_TX_SKB_BUDGET,
            (&raw const budget).cast(),
            SIZE_OF_U32,
        )
    };
    match result {
        0 => Ok(()),
        // Kernels before 6.16 have no such option; the ring then drains 32 packets a wake-up.
        _ if io::Error::last_os_error().raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Asks the kernel how the socket moves packets: a later socket of a shared UMEM takes the mode of the first, whatever it asked.
fn copy_mode(fd: RawFd) -> io::Result<CopyMode> {
    let mut flags = 0u32;
    let mut size = SIZE_OF_U32;
    // SAFETY: the option fills a u32, and `flags` is one that lives during the call, as does `size`.
    let result = unsafe {
        libc::getsockopt(fd, SOL_XDP, XDP_OPTIONS, (&raw mut flags).cast(), &raw mut size)
    };
    match result {
        0 if flags & XDP_OPTIONS_ZEROCOPY != 0 => Ok(CopyMode::ZeroCopy),
        0 => Ok(CopyMode::Copy),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The rings of one socket. Dropping the last of them closes the socket.
#[derive(Debug)]
struct Rings {
    rx: RxQueue,
    fill: FillQueue,
    tx: TxQueue,
    completion: CompQueue,
}

/// One worker's socket on one queue of one interface.
#[derive(Debug)]
pub struct Sockets {
    umem: xsk_rs::Umem,
    region: &'static Region,
    descriptors: &'static [FrameDesc],
    ring: RingId,
    rings: Rings,
    /// What it may keep ready to receive into, if it receives.
    share: Option<Share>,
    /// Chunks in the fill ring, in the driver, or in the rx ring.
    filled: usize,
    /// Chunks in the tx or the completion ring.
    sent: usize,
    /// Packets to be put into the tx ring by the next flush.
    queued: Vec<FrameDesc>,
    /// The packet whose chunks are being received.
    assembly: Assembly,
}

impl Sockets {
    /// The descriptor to wait on for received frames.
    pub fn fd(&self) -> RawFd {
        self.rings.rx.fd().as_raw_fd()
    }

    /// Packets that the kernel could not give to this socket since it was made, by reason.
    ///
    /// # Errors
    /// The kernel would not tell.
    pub fn statistics(&self) -> io::Result<Missed> {
        let statistics = self.rings.rx.fd().xdp_statistics()?;
        Ok(Missed {
            rx_ring_full: statistics.rx_ring_full(),
            fill_ring_empty: statistics.rx_fill_ring_empty_descs(),
            other: statistics.rx_dropped(),
        })
    }

    /// Closes the socket and gives back every frame that its rings still held.
    pub fn close(self) -> Vec<Frame> {
        let Self { region, ring, rings, assembly, .. } = self;
        drop(rings);
        let mut frames = region.reclaim(ring);
        frames.extend(assembly.give_up());
        frames
    }

    /// The frame of a chunk that comes back from these rings. None if it lies outside or was never lent to them.
    fn back(&self, descriptor: &FrameDesc, len: usize) -> Option<Frame> {
        self.region.take_back(u32::try_from(descriptor.addr() / FRAME_SIZE).ok()?, len, self.ring)
    }

    /// Turns a descriptor of the kernel's into a frame, packet at the headroom. None if it points outside the region.
    fn adopt(&self, descriptor: &FrameDesc) -> Option<Frame> {
        let offset = descriptor.addr() % FRAME_SIZE;
        let len = descriptor.lengths().data();
        if offset == HEADROOM {
            return self.back(descriptor, len);
        }
        // A driver that puts the packet elsewhere in the chunk: move it to where frames keep it.
        let start = offset.checked_sub(HEADROOM)?;
        let mut frame = self.back(descriptor, CAPACITY)?;
        if start.checked_add(len).is_some_and(|end| end <= CAPACITY) {
            frame.bytes_mut().copy_within(start..start + len, 0);
            frame.set_len(len);
        } else {
            frame.set_len(0);
        }
        Some(frame)
    }

    fn take_completions(&mut self, pool: &mut Pool) {
        let mut done = [FrameDesc::default(); CHUNK];
        while self.sent > 0 {
            // SAFETY: the completion ring belongs to the socket of this UMEM.
            let count = unsafe { self.rings.completion.consume(&mut done) };
            for descriptor in done.iter().take(count) {
                if let Some(frame) = self.back(descriptor, 0) {
                    pool.give(frame);
                }
            }
            self.sent = self.sent.saturating_sub(count);
            if count < CHUNK {
                return;
            }
        }
    }

    fn refill(&mut self, pool: &mut Pool) {
        let mut batch = [FrameDesc::default(); CHUNK];
        let target = self.share.as_ref().map_or(0, Share::chunks);
        while self.filled < target {
            // Ports that came when there were few may have more than their share yet.
            if self.filled >= share::SMALLEST && !pool.is_plentiful() {
                return;
            }
            let wanted = CHUNK.min(target - self.filled);
            let mut count = 0;
            for slot in batch.iter_mut().take(wanted) {
                let Some(frame) = pool.take() else { break };
                let index = frame.into_index();
                self.region.lend(index, self.ring);
                *slot = self.descriptors.get(index as usize).copied().unwrap_or_default();
                count += 1;
            }
            let Some(ready) = batch.get(..count).filter(|ready| !ready.is_empty()) else { return };
            // SAFETY: the chunks were free and are marked as lent; the ring has room, as it is larger than any share.
            let produced = unsafe { self.rings.fill.produce(ready) };
            self.filled += produced;
            if produced == 0 {
                // Not expected: the frames go back to the pool, the ledger stays balanced.
                ready
                    .iter()
                    .filter_map(|descriptor| self.back(descriptor, 0))
                    .for_each(|frame| pool.give(frame));
                return;
            }
        }
    }
}

impl Port for Sockets {
    fn receive(&mut self, batch: &mut Vec<Frame>, budget: usize, pool: &mut Pool) -> Refused {
        let mut refused = Refused::default();
        loop {
            let mut descriptors = [FrameDesc::default(); CHUNK];
            let Some(room) = descriptors.get_mut(..budget.min(CHUNK)) else { return refused };
            // SAFETY: the rx ring belongs to the socket of this UMEM.
            let count = unsafe { self.rings.rx.consume(room) };
            self.filled = self.filled.saturating_sub(count);
            for descriptor in descriptors.iter().take(count) {
                let chunk = self.adopt(descriptor);
                let continued = descriptor.has_more_frames();
                if let Some(packet) = self.assembly.push(chunk, continued, pool, &mut refused) {
                    batch.push(packet);
                }
            }
            // The kernel publishes a packet's chunks together, so the rest of one that the budget cut is there.
            if count == 0 || !self.assembly.is_open() {
                return refused;
            }
        }
    }

    fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        let room = (RING_SIZE as usize).saturating_sub(self.sent);
        if self.queued.len() + frame.chunks() > room {
            return Err(frame);
        }
        let mut next = Some(frame);
        while let Some(mut chunk) = next {
            next = chunk.unlink();
            let len = chunk.len();
            let index = chunk.into_index();
            self.region.lend(index, self.ring);
            let mut descriptor = self.descriptors.get(index as usize).copied().unwrap_or_default();
            // SAFETY: the chunk is ours until it is produced below; only the length is set, no byte is read or written.
            unsafe { self.umem.data_mut(&mut descriptor) }.cursor().set_pos(len);
            descriptor.set_options(if next.is_some() { XDP_PKT_CONTD } else { 0 });
            self.queued.push(descriptor);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PortGone> {
        if !self.queued.is_empty() {
            // SAFETY: every queued chunk is lent to this ring and to nothing else.
            let produced = unsafe { self.rings.tx.produce(&self.queued) };
            if produced > 0 {
                self.sent += produced;
                self.queued.clear();
            }
        }
        // What an earlier wake-up left in the ring goes now; where nothing is left, there is nobody to wake.
        let is_empty = self.rings.tx.nb_free_exact() >= RING_SIZE;
        if is_empty || !self.rings.tx.needs_wakeup() {
            return Ok(());
        }
        match self.rings.tx.wakeup() {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(()),
            Err(_gone) => Err(PortGone),
        }
    }

    fn recycle(&mut self, pool: &mut Pool) {
        self.take_completions(pool);
        self.refill(pool);
    }

    fn frames(&mut self) -> PortFrames {
        let rx = self.rings.rx.nb_avail_exact() as usize;
        let completion = self.rings.completion.nb_avail_exact() as usize;
        PortFrames {
            fill: self.filled.saturating_sub(rx),
            rx: rx + self.assembly.len(),
            tx: self.sent.saturating_sub(completion) + self.queued.len(),
            completion,
        }
    }

    fn missed(&self) -> u64 {
        // The kernel refuses only when the socket is gone, and its packets with it.
        self.statistics().map_or(0, Missed::packets)
    }
}

/// The errno behind an error of xsk-rs.
fn os_error(error: &dyn std::error::Error) -> io::Error {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error)
        .map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

fn invalid(mib: usize, error: &dyn std::fmt::Display) -> UmemError {
    UmemError::Register { mib, source: io::Error::other(error.to_string()) }
}
