// SPDX-License-Identifier: Apache-2.0
/*
 * One process that visits every arm in random order, a block of calls at a time, so that whatever
 * disturbs the machine disturbs all arms alike. An arm is a network namespace, a cgroup, a protocol
 * and the addresses it calls. connect run ARMS OUT ROUNDS BLOCK SEED CPU    one block an arm in
 * each round; OUT as write_results() says connect hold ARMS NAME COUNT                  opens COUNT
 * connections of one arm, prints "held", closes them after a line on standard input and prints
 * "closed" ARMS: lines of "NAME tcp|udp|udp-connected NETNS CGROUP PORT ADDRESS[,ADDRESS…]".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_ARMS      512
#define MAX_ADDRESSES 64
#define WARM_UP	      2
#define UDP_CALLS     5		    /* for one of TCP: a datagram takes a fifth of the time */
#define ANSWER_NS     1000000000ULL /* a datagram not answered by then is lost */

enum kind { TCP, UDP, UDP_CONNECTED };

struct arm {
	char name[64];
	enum kind kind;
	int netns, cgroup;
	int address_count;
	struct sockaddr_in addresses[MAX_ADDRESSES];
	uint32_t failures; /* calls that returned an error or no answer */
	uint32_t
	    wrong_peers;  /* getpeername or recvfrom named another address than the one called */
	uint32_t *blocks; /* rounds × {ns in the first call, ns in the whole exchange} */
};

struct timing {
	uint64_t first, whole;
};

static struct arm arms[MAX_ARMS];
static int arm_count;
static uint64_t random_state;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 16) % n;
}

static int open_at(const char *format, const char *name, int flags)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), format, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		die(path);
	return fd;
}

static enum kind parse_kind(const char *word)
{
	if (!strcmp(word, "tcp"))
		return TCP;
	if (!strcmp(word, "udp"))
		return UDP;
	if (!strcmp(word, "udp-connected"))
		return UDP_CONNECTED;
	fprintf(stderr, "connect: unknown kind %s\n", word);
	exit(2);
}

static void parse_addresses(struct arm *arm, char *list, int port)
{
	for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
		struct sockaddr_in *address = &arm->addresses[arm->address_count++];

		if (arm->address_count > MAX_ADDRESSES ||
		    inet_pton(AF_INET, word, &address->sin_addr) != 1) {
			fprintf(stderr, "connect: bad address %s in %s\n", word, arm->name);
			exit(2);
		}
		address->sin_family = AF_INET;
		address->sin_port = htons(port);
	}
}

static void read_arms(const char *path)
{
	char kind[32], netns[128], cgroup[384], addresses[1200];
	FILE *file = fopen(path, "re");
	struct arm *arm;
	int port;

	if (!file)
		die(path);
	for (;;) {
		arm = &arms[arm_count];
		if (fscanf(file, "%63s %31s %127s %383s %d %1199s", arm->name, kind, netns, cgroup,
			   &port, addresses) != 6)
			break;
		arm->kind = parse_kind(kind);
		arm->netns = open_at("/run/netns/%s", netns, O_RDONLY);
		arm->cgroup = open_at("%s/cgroup.procs", cgroup, O_WRONLY);
		parse_addresses(arm, addresses, port);
		if (++arm_count == MAX_ARMS)
			break;
	}
	fclose(file);
}

static void enter(const struct arm *arm)
{
	if (setns(arm->netns, CLONE_NEWNET))
		die("setns");
	if (write(arm->cgroup, "0", 1) != 1)
		die("cgroup.procs");
}

static int same(const struct sockaddr_in *a, const struct sockaddr_in *b)
{
	return a->sin_addr.s_addr == b->sin_addr.s_addr && a->sin_port == b->sin_port;
}

/* A closed connection leaves by RST: no TIME_WAIT uses up the ports of 100,000 connections. */
static int open_tcp(void)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)))
		die("socket");
	return fd;
}

static void check_peer(struct arm *arm, int fd, const struct sockaddr_in *called)
{
	struct sockaddr_in peer = {0};
	socklen_t length = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &length) || !same(&peer, called))
		arm->wrong_peers++;
}

/* One connection; the peer's name is looked at only in those that are not timed. */
static void call_tcp(struct arm *arm, struct timing *timing)
{
	const struct sockaddr_in *called = &arm->addresses[random_below(arm->address_count)];
	uint64_t start, connected;
	int fd = open_tcp(), failed;

	start = now_ns();
	failed = connect(fd, (const struct sockaddr *)called, sizeof(*called));
	connected = now_ns();
	if (failed)
		arm->failures++;
	else if (!timing)
		check_peer(arm, fd, called);
	close(fd);
	if (timing) {
		timing->first += connected - start;
		timing->whole += now_ns() - start;
	}
}

static void call_udp(struct arm *arm, int fd, const struct sockaddr_in *called,
		     struct timing *timing)
{
	const struct sockaddr *to = arm->kind == UDP ? (const struct sockaddr *)called : NULL;
	struct sockaddr_in from = {0};
	socklen_t length = sizeof(from);
	uint64_t start, sent, ended;
	char data[32] = "portolan";
	ssize_t n;

	start = now_ns();
	n = sendto(fd, data, sizeof(data), 0, to, to ? sizeof(*called) : 0);
	sent = now_ns();
	if (n != sizeof(data)) {
		arm->failures++;
		return;
	}
	do {
		n = recvfrom(fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&from,
			     &length);
		ended = now_ns();
	} while (n < 0 && errno == EAGAIN && ended - sent < ANSWER_NS);
	if (n != sizeof(data))
		arm->failures++;
	else if (!same(&from, called))
		arm->wrong_peers++;
	if (timing) {
		timing->first += sent - start;
		timing->whole += ended - start;
	}
}

static void run_udp(struct arm *arm, int calls, struct timing *timing)
{
	const struct sockaddr_in *called = &arm->addresses[random_below(arm->address_count)];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (arm->kind == UDP_CONNECTED &&
	    connect(fd, (const struct sockaddr *)called, sizeof(*called)))
		arm->failures++;
	for (int i = -WARM_UP; i < UDP_CALLS * calls; i++)
		call_udp(arm, fd, called, i < 0 ? NULL : timing);
	timing->first /= UDP_CALLS;
	timing->whole /= UDP_CALLS;
	close(fd);
}

static struct timing run_block(struct arm *arm, int calls)
{
	struct timing timing = {0};

	enter(arm);
	if (arm->kind == TCP)
		for (int i = -WARM_UP; i < calls; i++)
			call_tcp(arm, i < 0 ? NULL : &timing);
	else
		run_udp(arm, calls, &timing);
	return timing;
}

static uint32_t clamp(uint64_t ns)
{
	return ns > UINT32_MAX ? UINT32_MAX : ns;
}

static void run_round(int round, int calls)
{
	int order[MAX_ARMS];

	for (int i = 0; i < arm_count; i++)
		order[i] = i;
	for (int i = arm_count - 1; i > 0; i--) {
		int j = random_below(i + 1), swapped = order[i];

		order[i] = order[j];
		order[j] = swapped;
	}
	for (int i = 0; i < arm_count; i++) {
		struct arm *arm = &arms[order[i]];
		struct timing timing = run_block(arm, calls);

		arm->blocks[2 * round] = clamp(timing.first);
		arm->blocks[2 * round + 1] = clamp(timing.whole);
	}
}

/* u32 words: arms, rounds, calls in a block; then for each arm: failures, wrong peers, rounds ×
 * {first, whole} ns. */
static void write_results(const char *path, uint32_t rounds, uint32_t calls)
{
	FILE *file = fopen(path, "we");
	uint32_t header[3] = {arm_count, rounds, calls};

	if (!file)
		die(path);
	fwrite(header, sizeof(header), 1, file);
	for (int i = 0; i < arm_count; i++) {
		fwrite(&arms[i].failures, sizeof(uint32_t), 1, file);
		fwrite(&arms[i].wrong_peers, sizeof(uint32_t), 1, file);
		fwrite(arms[i].blocks, 2 * sizeof(uint32_t), rounds, file);
	}
	if (fclose(file))
		die(path);
}

static int run(char **argv)
{
	int rounds = atoi(argv[3]), calls = atoi(argv[4]);
	cpu_set_t cpus;

	random_state = strtoull(argv[5], NULL, 10) * 0x9e3779b97f4a7c15ULL | 1;
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[6]), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		die("sched_setaffinity");
	for (int i = 0; i < arm_count; i++) {
		arms[i].blocks = calloc(2 * rounds, sizeof(uint32_t));
		if (!arms[i].blocks)
			die("calloc");
		run_block(&arms[i], calls);
	}
	for (int round = 0; round < rounds; round++)
		run_round(round, calls);
	write_results(argv[2], rounds, calls);
	return 0;
}

static int hold(const char *name, int count)
{
	int *fds = calloc(count, sizeof(int));
	struct arm *arm = arms;

	while (arm < arms + arm_count && strcmp(arm->name, name))
		arm++;
	if (arm == arms + arm_count || !fds) {
		fprintf(stderr, "connect: no arm %s\n", name);
		return 2;
	}
	enter(arm);
	for (int i = 0; i < count; i++) {
		const struct sockaddr_in *called =
		    &arm->addresses[random_below(arm->address_count)];

		fds[i] = open_tcp();
		if (connect(fds[i], (const struct sockaddr *)called, sizeof(*called)))
			die("connect");
		check_peer(arm, fds[i], called);
	}
	if (arm->wrong_peers) {
		fprintf(stderr, "connect: %u wrong peer names\n", arm->wrong_peers);
		return 1;
	}
	puts("held");
	fflush(stdout);
	(void)getchar();
	for (int i = 0; i < count; i++)
		close(fds[i]);
	puts("closed");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 8 && !strcmp(argv[1], "run")) {
		read_arms(argv[2]);
		return run(argv + 1);
	}
	if (argc == 5 && !strcmp(argv[1], "hold")) {
		random_state = 1;
		read_arms(argv[2]);
		return hold(argv[3], atoi(argv[4]));
	}
	fprintf(
	    stderr,
	    "usage: connect run ARMS OUT ROUNDS BLOCK SEED CPU | connect hold ARMS NAME COUNT\n");
	return 2;
}
