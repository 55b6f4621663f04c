// SPDX-License-Identifier: Apache-2.0
//
// One program, one port. A frame goes to the AF_XDP socket of the queue it came in on; without a socket the fallback decides,
// and on pod ports that is DROP: a dead daemon closes the door. On the uplink only addresses of pods and services are taken,
// everything else, the node's own SSH included, passes to the kernel untouched.
//
// `xdp.frags` lets frames larger than one page arrive as several buffers (jumbo MTU); only the headers are read here, and they
// are in the first one.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Set by the loader before the program is loaded (lib.rs).
volatile const __u32 takes_everything = 1;
volatile const __u32 fallback = XDP_DROP;

// The port's sockets, by receive queue. One map for each port: a slot holding a socket of another device would swallow frames
// silently.
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

// Addresses of pods and services, read on the uplink only; IPv4 as ::ffff:a.b.c.d.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct in6_addr);
	__type(value, __u8);
} addresses SEC(".maps");

static __always_inline int is_for_us(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct in6_addr destination = {};

	if ((void *)(eth + 1) > end)
		return 0;

	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return 0;
		destination.in6_u.u6_addr16[5] = 0xffff;
		destination.in6_u.u6_addr32[3] = ip->daddr;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return 0;
		destination = ip->daddr;
	} else {
		return 0;
	}

	return bpf_map_lookup_elem(&addresses, &destination) != 0;
}

SEC("xdp.frags")
int redirect(struct xdp_md *ctx)
{
	if (!takes_everything && !is_for_us(ctx))
		return XDP_PASS;

	return bpf_redirect_map(&sockets, ctx->rx_queue_index, fallback);
}

char _license[] SEC("license") = "Dual MIT/GPL";
