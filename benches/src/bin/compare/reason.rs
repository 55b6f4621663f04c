//! Why a target is missed where it is: what was found, by row. Shown only beside a miss.

/// What was found about a row; nothing where nothing was.
pub(crate) fn of(row: u8) -> Option<&'static str> {
    FOUND.iter().find_map(|(found, reason)| (*found == row).then_some(*reason))
}

const FOUND: [(u8, &str); 9] = [
    (
        1,
        "bare misses it as well: in a cpu-clock profile of the worker's thread under row 9, 87 % are the kernel's copies and its way \
         through veth. In our own part, the first touch of a packet that another core has just written was a third, which is why a \
         batch is asked for before it is read.",
    ),
    (
        6,
        "judging has no part in it: in ten interleaved rounds of L7, L4 and bare by hand, all three had rounds of 0.7 to 0.9 ms and rounds of \
         1.6 to 2.9 ms (medians 1.1, 0.9 and 2.1). `perf sched` shows why: client and server share a core, and as long as each request is \
         carried at once, the server it wakes takes the core from the client before that has sent the next one. Such a spell costs \
         50 us a request, 2 ms for forty. Holding packets back until the client pauses (10 us, at most 40) ended such spells and brought 1.1 \
         times the requests at forty connections, but 0.15 to 0.6 of them at one to four; a worker that tries every 64th burst whether holding back \
         pays brought 0.9 to 1.0 of them everywhere. Spinning for 200 or 1000 us instead of 50 changed nothing.",
    ),
    (
        7,
        "in a cpu-clock profile of the worker's core under this load, 69 % are the kernel's (11 % wake the other core), 24 % are ours, spinning \
         included, and no function of ours is above 2 %. On another machine bare missed it as well, by as much.",
    ),
    (
        9,
        "bare misses it as well: see 1. With an MTU of 1500 the worker's core is full, and 90 % of its samples are the kernel's. Fill rings of \
         2047 or 4000 chunks lose no packet in a burst, where 1024 lose a few hundred, and carry no more; 512 carry 0.9 times as much \
         and lose ten thousand.",
    ),
    (
        10,
        "the p99 without the flood differs up to eightfold between the rounds of one run, and the ratio with it. Under the flood it is that of the \
         others: on two machines ours was 3.0 and 2.5 ms, HAProxy's 2.6 and 2.1, nginx' 2.5 and 2.8, Envoy's 5.9 and 3.1, 1.9 to 5.2 times \
         what it was without: all clients and the server share one core with the flood's client.",
    ),
    (
        11,
        "the processor is busy, not waiting: callgrind counts 1 200 instructions for an established L4 packet (2 600 before it took a \
         short way, ADR 11), between four and five a cycle. The four packets of a request cost 12 700 (19 500): 4 600 are their short \
         way, 3 600 read the two heads, 900 judge the request, 500 sum up what it carries, and 3 100 are the engine's own for the two that carry \
         something. Additions checked for overflow are among them, and stay.",
    ),
    (
        12,
        "of an L4 connection 88 bytes are its slot, 16 its share, 10 its entry in the index; the rest are the shadows of a worker \
         (`budgets.shadows`), spread over a million connections. The stream of an idle L7 connection has 360 bytes on top, and the \
         allocator's 16.",
    ),
    (
        14,
        "ports are taken over one after another: of the first 48, the kernel puts each program into its XDP dispatcher and waits for \
         an RCU grace period while it holds the lock of all interfaces (`bpf_dispatcher_change_prog`, about 10 ms on an idle machine \
         and longer on a busy one), so that taking over several at once would not be faster.",
    ),
    (
        15,
        "nothing is handed on any more once replies are granted (ADR 12; a quarter of the packets was, and two carried 0.65 to 1.2 times what one \
         carries), and the workers share no memory that either writes. Alone on the machine, thirteen pairs of runs had a median of 1.85: two \
         processes with a worker each keep 0.95 of their rate side by side, so that 1.9 is what these cores have.",
    ),
];
