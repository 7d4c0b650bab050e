// SPDX-License-Identifier: Apache-2.0
/*
 * Opens connections at a steady rate and counts every one that is refused, late or led to a peer of
 * another name, while long connections exchange a few bytes each fifth of a second and must never
 * break. Run inside the client's namespace and cgroup. hammer RATE SECONDS LONG ADDRESS:PORT,…
 * LONG_ADDRESS:PORT      prints one line of JSON at the end
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_TARGETS 1024
#define MAX_LONG    1024
#define LATE_SEC    30
#define EXCHANGE_NS 200000000LL

static struct sockaddr_in targets[MAX_TARGETS], long_target;
static int target_count, long_fds[MAX_LONG], long_count;
static long opened, failed, wrong_peers, exchanged, long_failed;
static long long slowest_ns;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void parse_target(char *word, struct sockaddr_in *address)
{
	char *port = strchr(word, ':');

	if (port)
		*port++ = 0;
	address->sin_family = AF_INET;
	if (!port || inet_pton(AF_INET, word, &address->sin_addr) != 1) {
		fprintf(stderr, "hammer: bad address %s\n", word);
		exit(2);
	}
	address->sin_port = htons(atoi(port));
}

static int open_socket(void)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	struct timeval late = {.tv_sec = LATE_SEC};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &late, sizeof(late)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &late, sizeof(late)))
		die("socket");
	return fd;
}

static int shows(int fd, const struct sockaddr_in *called)
{
	struct sockaddr_in peer = {0};
	socklen_t length = sizeof(peer);

	return !getpeername(fd, (struct sockaddr *)&peer, &length) &&
	       peer.sin_port == called->sin_port && peer.sin_addr.s_addr == called->sin_addr.s_addr;
}

static void open_short(const struct sockaddr_in *target)
{
	long long start = now_ns(), took;
	int fd = open_socket();

	opened++;
	if (connect(fd, (const struct sockaddr *)target, sizeof(*target))) {
		if (!failed)
			perror("hammer: first failed connect");
		failed++;
	} else if (!shows(fd, target)) {
		wrong_peers++;
	}
	took = now_ns() - start;
	if (took > slowest_ns)
		slowest_ns = took;
	close(fd);
}

static void open_long(int count)
{
	for (; long_count < count; long_count++) {
		int fd = open_socket();

		if (connect(fd, (const struct sockaddr *)&long_target, sizeof(long_target)))
			die("hammer: long connection");
		long_fds[long_count] = fd;
	}
}

static int answers(int fd)
{
	char data[16] = {0};

	return recv(fd, data, sizeof(data), MSG_WAITALL) == sizeof(data) && shows(fd, &long_target);
}

/* Sends on all of them, then waits for every answer: a send that fails is seen as an answer that
 * does not come. */
static void exchange_long(void)
{
	for (int i = 0; i < long_count; i++)
		if (long_fds[i])
			send(long_fds[i], "still there?...", 16, MSG_NOSIGNAL);
	for (int i = 0; i < long_count; i++) {
		if (!long_fds[i])
			continue;
		if (answers(long_fds[i])) {
			exchanged++;
			continue;
		}
		long_failed++;
		close(long_fds[i]);
		long_fds[i] = 0;
	}
}

static void sleep_until(long long ns)
{
	struct timespec at = {.tv_sec = ns / 1000000000LL, .tv_nsec = ns % 1000000000LL};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
}

int main(int argc, char **argv)
{
	long long start, end, exchange_at, step;
	int rate, seconds;

	if (argc != 6) {
		fprintf(stderr,
			"usage: hammer RATE SECONDS LONG ADDRESS:PORT,... LONG_ADDRESS:PORT\n");
		return 2;
	}
	rate = atoi(argv[1]);
	seconds = atoi(argv[2]);
	for (char *word = strtok(argv[4], ","); word && target_count < MAX_TARGETS;
	     word = strtok(NULL, ","))
		parse_target(word, &targets[target_count++]);
	parse_target(argv[5], &long_target);
	open_long(atoi(argv[3]) < MAX_LONG ? atoi(argv[3]) : MAX_LONG);
	/* Ten connections a wake-up: a timer for each would be the load. */
	step = 10 * 1000000000LL / rate;
	start = exchange_at = now_ns();
	end = start + seconds * 1000000000LL;
	for (long long at = start; at < end; at += step) {
		sleep_until(at);
		for (int i = 0; i < 10; i++)
			open_short(&targets[opened % target_count]);
		if (at >= exchange_at) {
			exchange_long();
			exchange_at += EXCHANGE_NS;
		}
	}
	printf(
	    "{\"opened\":%ld,\"failed\":%ld,\"wrongPeers\":%ld,\"slowestMs\":%.3f,\"seconds\":%.3f,"
	    "\"longConnections\":%d,\"exchanges\":%ld,\"longFailed\":%ld}\n",
	    opened, failed, wrong_peers, slowest_ns / 1e6, (now_ns() - start) / 1e9, long_count,
	    exchanged, long_failed);
	return 0;
}
