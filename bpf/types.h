/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Keys and values of portolan's maps: the contract between the programs, the
 * agent (which reads these types from BTF) and whoever looks in with bpftool.
 * Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; ports are in host order.
 */
#ifndef PORTOLAN_TYPES_H
#define PORTOLAN_TYPES_H

#include <linux/types.h>

/* pt_frontends: one row per address, port and protocol that is ours. */
struct frontend_key {
	__u8 addr[16]; /* all zero behind ::ffff: or all zero: NodePort of that family */
	__u16 port;    /* host order; 0: any port of this ClusterIP */
	__u8 proto;    /* IPPROTO_*; 0 in an any-port row */
	__u8 pad;
};

enum frontend_flags {
	FRONTEND_CLUSTER_IP = 1 << 0,
	FRONTEND_NODE_PORT = 1 << 1,
	FRONTEND_EXTERNAL_IP = 1 << 2,
	FRONTEND_LOAD_BALANCER = 1 << 3,
	FRONTEND_ANY_PORT = 1 << 4,	  /* a ClusterIP's ports that no Service has: REJECT */
	FRONTEND_INTERNAL_LOCAL = 1 << 5, /* callers on this node use the local extent */
	FRONTEND_EXTERNAL_LOCAL = 1 << 6, /* packets from outside use the local extent */
	FRONTEND_BIND_GUARD = 1 << 7,	  /* no process of the host may bind this port */
	FRONTEND_SOURCE_RANGES =
	    1 << 8, /* only for callers that the next two or pt_src_ranges admit */
	FRONTEND_ALLOW_HOST = 1 << 9,  /* sockets of the host that are not bound */
	FRONTEND_ALLOW_PODS = 1 << 10, /* sockets of pods that are not bound */
};

/* One u64 to its readers: replaced whole, never word by word. */
struct frontend {
	__u32 service_id;
	__u32 flags; /* enum frontend_flags */
};

/*
 * pt_address_bits: a Bloom filter with one hash. The bit of every address in
 * pt_frontends and pt_node_addrs is set; a call to an address whose bit is not set
 * is nobody's, and looks up nothing else. Bits are set before their row is
 * written, and are not cleared while programs run.
 */
#define ADDRESS_BITS_LOG2	19
#define ADDRESS_BITS_MULTIPLIER 0x9e3779b97f4a7c15ULL
struct address_bits {
	__u64 word;
};

enum algorithm {
	ALGORITHM_REJECT = 0,
	ALGORITHM_DROP = 1,
	ALGORITHM_RANDOM = 2,
	ALGORITHM_LEAST_CONN = 3,
	ALGORITHM_MAGLEV = 4,
};

/* Extent word: base:32 | count:24 | algorithm:8. base is a slot index, count slots follow. */
#define EXTENT_BASE(word)      ((__u32)(word))
#define EXTENT_COUNT(word)     ((__u32)((word) >> 32) & 0xffffffU)
#define EXTENT_ALGORITHM(word) ((__u32)((word) >> 56))

/* pt_services, by service id; id 0 is no service. 64 bytes: one cache line. */
struct service {
	__u64 cluster;	    /* extent word: endpoints anywhere */
	__u64 local;	    /* extent word: endpoints on this node */
	__u32 affinity_sec; /* ClientIP timeout; 0: none */
	__u32 flags;
	__u64 reserved[5];
};

/* pt_slots: pages of backend ids. */
#define SLOTS_PER_PAGE 1024
struct slot_page {
	__u32 backend_id[SLOTS_PER_PAGE];
};

enum backend_flags {
	BACKEND_CLUSTER = 1 << 0, /* may be chosen through the cluster extent */
	BACKEND_LOCAL = 1 << 1,	  /* may be chosen through the local extent */
	BACKEND_SERVING = 1 << 2, /* flows that already use it may go on (UDP) */
};

/*
 * pt_backends, by backend id; id 0 is none. All but flags is written only while
 * the id is unreachable; generation goes up when the id is retired.
 */
struct backend {
	__u8 addr[16];
	__u16 port; /* host order */
	__u8 proto;
	__u8 pad;
	__u32 service_id;
	__u32 generation;
	__u32 flags; /* enum backend_flags; one store */
};

/*
 * pt_active, by backend id. The element of id 0, which is no backend, counts the
 * records in pt_sockets_ovf: while it is 0, sockets' storage need not be asked.
 */
#define ACTIVE_OVERFLOW 0
struct active {
	__u64 connections; /* TCP sockets of this node that hold a record */
};

enum socket_flags {
	SOCKET_COUNTED = 1 << 0, /* counted in pt_active */
	SOCKET_SENDTO = 1 << 1,	 /* of UDP sendto(), not connect(): names answers, not the peer */
	SOCKET_PEERS = 1 << 2,	 /* the socket has rows in pt_udp_peers */
};

/* In a record's cookie: claimed, contents not written yet. Cookies never reach this bit. */
#define SOCKET_WRITING (1ULL << 63)

/* pt_sockets (slot = cookie mod size) and pt_sockets_ovf: what a socket called. */
struct socket_record {
	__u64 cookie; /* 0: free; claimed by compare-and-swap, with SOCKET_WRITING at first */
	__u8 frontend_addr[16];
	__u8 backend_addr[16];
	__u16 frontend_port; /* host order; 0: the backend's answers are its own */
	__u16 backend_port;  /* host order */
	__u32 backend_id;    /* 0: led nowhere (DROP), the frontend stands for itself */
	__u32 generation;
	__u32 service_id;
	__u8 proto;
	__u8 flags; /* enum socket_flags */
	__u8 pad[6];
};

/* pt_doomed (kill.bpf.c), by socket cookie: the peer whose socket is to end. */
struct doomed {
	__u8 addr[16];
	__u16 port; /* host order */
	__u16 pad[3];
};

/* pt_gone (quench.bpf.c): an endpoint of a service that serves no more. */
struct gone_key {
	__u8 addr[16];
	__u16 port; /* host order */
	__u16 pad;
	__u32 service_id;
};

/*
 * pt_udp_peers: what UDP sockets talk to beside what their record says. Only
 * sockets whose record has SOCKET_PEERS have any. Two kinds of rows:
 *  answer: {cookie, backend address and port, 0} -> the frontend it was called by
 *  sticky: {cookie, 0, 0, service id} -> the backend that this socket keeps
 */
struct udp_peer_key {
	__u64 cookie;
	__u8 addr[16];
	__u16 port; /* host order */
	__u16 pad;
	__u32 service_id;
};

struct udp_peer {
	__u8 addr[16];
	__u16 port; /* host order */
	__u16 pad;
	__u32 backend_id;
	__u32 generation;
	__u32 check; /* hash of the row's key and contents: an LRU element may be refilled under its
			reader */
};

enum affinity_client {
	AFFINITY_NETNS = 0, /* client = cookie of the caller's network namespace */
	AFFINITY_ADDRESS = 1,
};

/* pt_affinity */
struct affinity_key {
	__u8 client[16]; /* a netns cookie stands in the first 8 bytes, native order */
	__u32 service_id;
	__u32 kind; /* enum affinity_client */
};

struct affinity {
	__u64 expires_ns; /* CLOCK_MONOTONIC */
	__u32 backend_id;
	__u32 generation;
	__u64 check; /* as in struct udp_peer, of all but expires_ns */
};

enum node_addr_flags {
	NODE_ADDR_MINE = 1 << 0,
	NODE_ADDR_NODE_PORT = 1 << 1, /* NodePorts answer here */
};

/* pt_node_addrs */
struct node_addr_key {
	__u8 addr[16];
};

struct node_addr {
	__u32 flags; /* enum node_addr_flags */
};

/*
 * pt_src_ranges, a trie: the prefixes of sources that may use a service's load
 * balancer addresses. A bound socket's address is looked up with SRC_RANGE_BITS.
 */
#define SRC_RANGE_SERVICE_BITS 32
#define SRC_RANGE_BITS	       (SRC_RANGE_SERVICE_BITS + 128)
struct src_range_key {
	__u32 prefixlen; /* of what follows; an IPv4 /8 is SRC_RANGE_SERVICE_BITS + 104 */
	__u32 service_id;
	__u8 addr[16];
};

struct src_range {
	__u8 allowed; /* 1 */
};

/* pt_names: for people and for recovery. */
#define NAME_BYTES 198
struct service_name {
	__u8 family; /* 4 or 6 */
	__u8 proto;
	char name[NAME_BYTES]; /* "namespace/name:port", ends with a zero byte */
};

/* pt_stats: a per-CPU counter for each reason. Append only. */
enum stat_reason {
	STAT_CONNECT = 0,    /* connect() translated */
	STAT_CONNECT_REJECT, /* refused: nobody to answer */
	STAT_CONNECT_DROP,   /* left untranslated by policy */
	STAT_SENDMSG,	     /* datagram translated */
	STAT_SENDMSG_REJECT,
	STAT_SENDMSG_DROP,
	STAT_RECVMSG, /* answer shown with its frontend */
	STAT_PEERNAME,
	STAT_BIND_REFUSED, /* bind() to a NodePort or external frontend */
	STAT_AFFINITY_HIT,
	STAT_AFFINITY_NEW,
	STAT_RECORD_OVERFLOW, /* the record went to pt_sockets_ovf */
	STAT_RECORD_LOST,     /* no room for the record: peer name shows the backend */
	STAT_PICK_RETRY,      /* a dead backend was met, the extent read again */
	STAT_PICK_FAILED,     /* three times in a row: rejected */
	STAT_LOOPBACK_SOURCE, /* bound to loopback, left untranslated */
	STAT_SOURCE_OUTSIDE,  /* not in the frontend's source ranges; among the drops too */
	STAT_MAX,
};

struct stat {
	__u64 count;
};

_Static_assert(sizeof(struct frontend_key) == 20, "frontend_key");
_Static_assert(sizeof(struct frontend) == 8, "frontend");
_Static_assert(sizeof(struct service) == 64, "service");
_Static_assert(sizeof(struct slot_page) == 4096, "slot_page");
_Static_assert(sizeof(struct backend) == 32, "backend");
_Static_assert(sizeof(struct socket_record) == 64, "socket_record");
_Static_assert(sizeof(struct doomed) == 24, "doomed");
_Static_assert(sizeof(struct gone_key) == 24, "gone_key");
_Static_assert(sizeof(struct udp_peer_key) == 32, "udp_peer_key");
_Static_assert(sizeof(struct udp_peer) == 32, "udp_peer");
_Static_assert(sizeof(struct affinity_key) == 24, "affinity_key");
_Static_assert(sizeof(struct affinity) == 24, "affinity");
_Static_assert(sizeof(struct src_range_key) == 24, "src_range_key");
_Static_assert(sizeof(struct src_range) == 1, "src_range");
_Static_assert(sizeof(struct service_name) == 200, "service_name");

#endif
