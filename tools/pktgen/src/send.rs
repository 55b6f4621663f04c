//! The sender: a source of packets and a pace arrive, packets leave through a link, counts stay.
//!
//! Every chunk that goes into the transmit ring comes back through the completion ring before the sender is done, or it says that
//! it did not.

use dataplane::umem::Port;
use parser::EmitError;

use crate::{
    build::Builder,
    clock::SECOND,
    link::{Link, LinkError, Place},
    mix::Mix,
    pace::{BATCH, Pacer, Step},
    replay::Recording,
    tag::Tag,
};

/// A kernel that completes nothing for this long is not sending.
const STALL: u64 = 2 * SECOND;

/// Why sending ended early or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The interface could not be opened or read.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The interface went away while packets were sent.
    #[error("{place} went away or down after {completed} packets")]
    Gone {
        /// The interface.
        place: Place,
        /// Packets completed until then.
        completed: u64,
    },
    /// The kernel stopped taking packets.
    #[error(
        "{place} completed nothing for 2 s; {completed} of {handed} packets were completed. Is the link up on both ends?"
    )]
    Stalled {
        /// The interface.
        place: Place,
        /// Packets put into the transmit ring.
        handed: u64,
        /// Packets completed.
        completed: u64,
    },
    /// A packet could not be written.
    #[error("cannot build a packet: {0:?}")]
    Emit(EmitError),
}

/// What was sent of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Where packets come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Streams, built packet by packet.
    Mix(Mixer),
    /// A file's frames, again and again.
    Recording(Recording),
}

/// Streams that take turns by their weights.
#[derive(Clone, Debug)]
pub struct Mixer {
    /// Each with its credit: the stream with most goes next (smooth weighted round robin).
    streams: Vec<(Builder, i64)>,
    total: i64,
}

impl Mixer {
    /// The streams of a mix.
    pub fn new(mix: &Mix) -> Self {
        let total = mix.streams.iter().map(|stream| i64::from(stream.weight)).sum();
        let builder = |(position, stream): (usize, &crate::mix::Stream)| {
            let position = u16::try_from(position).unwrap_or(u16::MAX);
            (Builder::new(stream.clone(), mix.seed, position), 0)
        };
        Self { streams: mix.streams.iter().enumerate().map(builder).collect(), total }
    }

    /// The streams' names, by position.
    pub fn names(&self) -> Vec<String> {
        self.streams.iter().map(|(builder, _)| builder.stream().name.clone()).collect()
    }

    fn next(&mut self) -> Option<(usize, &mut Builder)> {
        let is_only = self.streams.len() == 1;
        for (builder, credit) in self.streams.iter_mut().filter(|_| !is_only) {
            *credit += i64::from(builder.stream().weight);
        }
        // The first of those with most, so that the order does not depend on anything but the mix.
        let (position, (builder, credit)) = self
            .streams
            .iter_mut()
            .enumerate()
            .filter(|(_, (builder, _))| builder.stream().weight > 0)
            .reduce(|most, other| if other.1.1 > most.1.1 { other } else { most })?;
        *credit -= if is_only { 0 } else { self.total };
        Some((position, builder))
    }
}

/// What a sender is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Packets are due now.
    Sending,
    /// Nothing is due for this many nanoseconds.
    Waiting(u64),
    /// Everything is handed over, and the kernel has not given all of it back.
    Draining,
    /// Everything is sent and given back.
    Done,
}

/// Sends on a link.
#[derive(Debug)]
pub struct Sender<'a> {
    link: &'a mut Link,
    source: Source,
    /// How far it is.
    pub pacer: Pacer,
    run: u16,
    started: u64,
    /// Packets put into the transmit ring.
    pub handed: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Packets whose chunks the kernel gave back.
    pub completed: u64,
    /// By position in the mix; the recording is one stream.
    pub streams: Vec<Sent>,
    /// Nanoseconds from the start to the last packet handed over.
    pub last_sent: u64,
    progressed: u64,
}

impl<'a> Sender<'a> {
    /// A sender of run `run` that starts at `now`.
    pub fn new(link: &'a mut Link, source: Source, pacer: Pacer, run: u16, now: u64) -> Self {
        let streams = match &source {
            Source::Mix(mixer) => mixer.streams.len(),
            Source::Recording(_) => 1,
        };
        Self {
            link,
            source,
            pacer,
            run,
            started: now,
            handed: 0,
            bytes: 0,
            completed: 0,
            streams: vec![Sent::default(); streams],
            last_sent: 0,
            progressed: 0,
        }
    }

    /// The link.
    pub fn link(&self) -> &Link {
        self.link
    }

    /// Whether its packets carry tags.
    pub fn is_tagged(&self) -> bool {
        matches!(self.source, Source::Mix(_))
    }

    /// Nanoseconds since the start.
    pub fn elapsed(&self, now: u64) -> u64 {
        now.saturating_sub(self.started)
    }

    /// Sends what is due at `now`, at most a batch, and takes back what the kernel is done with. With `stop` nothing new is due.
    ///
    /// # Errors
    /// The interface goes away, or the kernel stops sending.
    pub fn turn(&mut self, now: u64, stop: bool) -> Result<State, SendError> {
        let elapsed = self.elapsed(now);
        let step = if stop { Step::Stop } else { self.pacer.step(elapsed) };
        if step == Step::Send {
            let before = self.handed;
            self.put(now)?;
            if self.handed > before {
                self.last_sent = elapsed;
            }
        }
        let Link { port, pool, place, .. } = &mut *self.link;
        port.flush()
            .map_err(|_gone| SendError::Gone { place: place.clone(), completed: self.completed })?;
        port.recycle(pool);
        let chunks = port.frames();
        let outstanding = u64::try_from(chunks.tx + chunks.completion).unwrap_or(u64::MAX);
        let completed = self.handed.saturating_sub(outstanding);
        if completed > self.completed || outstanding == 0 {
            (self.completed, self.progressed) = (completed, elapsed);
        } else if elapsed.saturating_sub(self.progressed) > STALL {
            let (place, handed) = (place.clone(), self.handed);
            return Err(SendError::Stalled { place, handed, completed });
        }
        Ok(match step {
            Step::Send => State::Sending,
            Step::Wait(wait) => State::Waiting(wait),
            Step::Stop if outstanding == 0 => State::Done,
            Step::Stop => State::Draining,
        })
    }

    /// Puts the packets that are due into the port, as many as there is room for.
    fn put(&mut self, now: u64) -> Result<(), SendError> {
        let Link { port, pool, .. } = &mut *self.link;
        for _ in 0..BATCH {
            if !self.pacer.is_due() {
                break;
            }
            let Some(mut frame) = pool.take() else { break };
            let built = match &mut self.source {
                Source::Mix(mixer) => {
                    let Some((position, builder)) = mixer.next() else {
                        pool.give(frame);
                        break;
                    };
                    let number = self.streams.get(position).map_or(0, |sent| sent.packets);
                    let stream = u16::try_from(position).unwrap_or(u16::MAX);
                    let tag = Tag { run: self.run, stream, sequence: number, sent_at: now };
                    builder.emit(number, tag, frame.room_mut()).map(|len| (position, len))
                }
                Source::Recording(recording) => copy(recording, self.handed, frame.room_mut()),
            };
            let (position, len) = match built {
                Ok(built) => built,
                Err(error) => {
                    pool.give(frame);
                    return Err(SendError::Emit(error));
                }
            };
            frame.set_len(len);
            if let Err(frame) = port.send(frame) {
                pool.give(frame);
                break;
            }
            self.handed += 1;
            self.bytes += len as u64;
            self.pacer.sent(len as u64 * 8);
            if let Some(sent) = self.streams.get_mut(position) {
                sent.packets += 1;
                sent.bytes += len as u64;
            }
        }
        Ok(())
    }
}

/// Copies frame `number` of a recording that is played again and again.
fn copy(recording: &Recording, number: u64, out: &mut [u8]) -> Result<(usize, usize), EmitError> {
    let index = number % recording.frames.len().max(1) as u64;
    let frame = usize::try_from(index).ok().and_then(|index| recording.frames.get(index));
    let frame = frame.ok_or(EmitError::BufferTooSmall)?;
    out.get_mut(..frame.len()).ok_or(EmitError::BufferTooSmall)?.copy_from_slice(frame);
    Ok((0, frame.len()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn mixer(weights: &[u32]) -> Mixer {
        let stream = |weight| {
            format!(
                "[[stream]]\nweight = {weight}\ndestination-mac = \"02:00:00:00:00:02\"\nsource = \"10.0.0.1\"\ndestination = \"10.1.0.1\"\n"
            )
        };
        let text: String = weights.iter().map(stream).collect();
        Mixer::new(&Mix::parse(&text, Path::new("mix"), "02:00:00:00:00:01").unwrap())
    }

    #[test]
    fn streams_take_turns_by_their_weights() {
        let mut mixer = mixer(&[3, 1, 0, 2]);
        let turns: Vec<usize> = (0..12).map(|_| mixer.next().unwrap().0).collect();
        assert_eq!(turns, [0, 3, 0, 1, 3, 0, 0, 3, 0, 1, 3, 0]);
    }

    #[test]
    fn one_stream_is_always_next() {
        let mut mixer = mixer(&[5]);
        assert!((0..9).all(|_| mixer.next().unwrap().0 == 0));
    }
}
