// SPDX-License-Identifier: Apache-2.0
/*
 * The far end of every benchmark: accepts TCP connections and keeps them open until their client
 * has long gone (so that it never sends a FIN of its own into a measurement), echoes UDP datagrams
 * from the address they were sent to, and echoes TCP bytes on a second port for connections that
 * are to stay. server CPU PORT ECHO_PORT          prints "ready", runs until it is killed
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEPT 256 /* accepted connections that stay open */
#define SPIN_NS                                                                                    \
	2000000LL /* awake this long after the last request: waking a sleeping CPU costs more than \
		     a connection */

static int poller, tcp, echo_listener, udp;

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

static void watch(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

static int open_socket(int type, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)))
		die("socket");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("bind");
	if (type == SOCK_STREAM && listen(fd, 4096))
		die("listen");
	if (type == SOCK_DGRAM && setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one)))
		die("IP_PKTINFO");
	watch(fd);
	return fd;
}

static void accept_short(void)
{
	static int kept[KEPT];
	static unsigned int next;
	int fd;

	while ((fd = accept4(tcp, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		if (kept[next])
			close(kept[next]);
		kept[next] = fd;
		next = (next + 1) % KEPT;
	}
}

static void accept_long(void)
{
	int fd;

	while ((fd = accept4(echo_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		watch(fd);
}

static void echo_stream(int fd)
{
	char data[4096];
	ssize_t n = read(fd, data, sizeof(data));

	if (n > 0 && write(fd, data, n) == n)
		return;
	if (n < 0 && errno == EAGAIN)
		return;
	close(fd);
}

/* The control message that came with the datagram goes back with the answer: its address becomes
 * the source. */
static void echo_datagrams(void)
{
	char data[2048], control[CMSG_SPACE(sizeof(struct in_pktinfo))];
	struct sockaddr_in peer;
	struct iovec part = {.iov_base = data};
	struct msghdr message;

	for (;;) {
		struct cmsghdr *header;
		ssize_t n;

		part.iov_len = sizeof(data);
		message = (struct msghdr){.msg_name = &peer,
					  .msg_namelen = sizeof(peer),
					  .msg_iov = &part,
					  .msg_iovlen = 1,
					  .msg_control = control,
					  .msg_controllen = sizeof(control)};
		n = recvmsg(udp, &message, 0);
		if (n < 0)
			return;
		header = CMSG_FIRSTHDR(&message);
		if (header) {
			struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(header);

			info->ipi_ifindex = 0;
			info->ipi_spec_dst = info->ipi_addr;
		}
		part.iov_len = n;
		sendmsg(udp, &message, 0);
	}
}

static void dispatch(int fd)
{
	if (fd == tcp)
		accept_short();
	else if (fd == udp)
		echo_datagrams();
	else if (fd == echo_listener)
		accept_long();
	else
		echo_stream(fd);
}

int main(int argc, char **argv)
{
	struct epoll_event events[64];
	long long last = 0;
	cpu_set_t cpus;

	if (argc != 4) {
		fprintf(stderr, "usage: server CPU PORT ECHO_PORT\n");
		return 2;
	}
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[1]), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		die("sched_setaffinity");
	poller = epoll_create1(EPOLL_CLOEXEC);
	tcp = open_socket(SOCK_STREAM, atoi(argv[2]));
	udp = open_socket(SOCK_DGRAM, atoi(argv[2]));
	echo_listener = open_socket(SOCK_STREAM, atoi(argv[3]));
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(poller, events, 64, now_ns() - last < SPIN_NS ? 0 : -1);

		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++)
			dispatch(events[i].data.fd);
		if (n > 0)
			last = now_ns();
	}
}
