/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process with sockets, told by lines on stdin what to do. Each line gets one
 * line back: "ok", "ok VALUE…", or the name of the errno. Sockets are named by a
 * small number; an address with a colon is an AF_INET6 sockaddr.
 * A wait ends after the milliseconds that the line names last, or after very
 * many (ETIMEDOUT); the process ends with its parent.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_SOCKETS 4096
#define MAX_WORDS   8
#define PATIENCE_MS 30000
#define MAX_SERVED  512

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static int fds[MAX_SOCKETS];
static char *words[MAX_WORDS];

union any_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static void ok(void)
{
	puts("ok");
}

/* The errno's name, or ok. */
static void outcome(int result)
{
	puts(result < 0 ? strerrorname_np(errno) : "ok");
}

static int *fd_of(int word)
{
	int n = words[word] ? atoi(words[word]) : 0;

	return &fds[n < 0 || n >= MAX_SOCKETS ? 0 : n];
}

static socklen_t address_of(int word, union any_address *address)
{
	const char *host = words[word], *port = words[word + 1];

	memset(address, 0, sizeof(*address));
	if (strchr(host, ':')) {
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons(atoi(port));
		if (inet_pton(AF_INET6, host, &address->v6.sin6_addr) != 1)
			exit(2);
		return sizeof(address->v6);
	}
	address->v4.sin_family = AF_INET;
	address->v4.sin_port = htons(atoi(port));
	if (inet_pton(AF_INET, host, &address->v4.sin_addr) != 1)
		exit(2);
	return sizeof(address->v4);
}

static const char *text_of(const union any_address *address)
{
	static char text[80];
	char host[INET6_ADDRSTRLEN] = "?";

	if (address->any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
		snprintf(text, sizeof(text), "%s %d", host, ntohs(address->v6.sin6_port));
	} else {
		inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
		snprintf(text, sizeof(text), "%s %d", host, ntohs(address->v4.sin_port));
	}
	return text;
}

/* Waits for an event, as long as that word says; -1 with ETIMEDOUT. */
static int wait_for(int fd, short event, int word)
{
	struct pollfd poller = {.fd = fd, .events = event};

	if (poll(&poller, 1, words[word] ? atoi(words[word]) : PATIENCE_MS) > 0)
		return 0;
	errno = ETIMEDOUT;
	return -1;
}

#include "actor-datagram.h"
#include "actor-storm.h"

static void make_socket(void)
{
	int type = strcmp(words[2], "udp") ? SOCK_STREAM : SOCK_DGRAM;
	int family = words[3][0] == '6' ? AF_INET6 : AF_INET;
	int protocol = strcmp(words[2], "mptcp") ? 0 : IPPROTO_MPTCP;

	*fd_of(1) = socket(family, type | SOCK_CLOEXEC, protocol);
	outcome(*fd_of(1));
}

static void v6_only(void)
{
	int one = 1;

	outcome(setsockopt(*fd_of(1), IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)));
}

static void bind_to(void)
{
	union any_address address;
	socklen_t size = address_of(2, &address);

	outcome(bind(*fd_of(1), &address.any, size));
}

static void connect_to(void)
{
	union any_address address;
	socklen_t size = address_of(2, &address);

	outcome(connect(*fd_of(1), &address.any, size));
}

/* connect() without blocking: EINPROGRESS, and "finish" tells how it ended. */
static void connect_start(void)
{
	int fd = *fd_of(1);

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	connect_to();
}

static void connect_finish(void)
{
	int fd = *fd_of(1), error = 0;
	socklen_t size = sizeof(error);

	if (wait_for(fd, POLLOUT, 2) < 0)
		return outcome(-1);
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	errno = error;
	outcome(error ? -1 : 0);
}

static void disconnect(void)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	outcome(connect(*fd_of(1), &none, sizeof(none)));
}

static void read_text(void)
{
	char text[256];
	ssize_t got = wait_for(*fd_of(1), POLLIN, 2);

	if (!got)
		got = read(*fd_of(1), text, sizeof(text) - 1);
	if (got < 0)
		return outcome(-1);
	text[got] = 0;
	printf("ok %s\n", text);
}

static void show_peer(void)
{
	union any_address address = {0};
	socklen_t size = sizeof(address);

	if (getpeername(*fd_of(1), &address.any, &size) < 0)
		return outcome(-1);
	printf("ok %s\n", text_of(&address));
}

static void show_cookie(int option)
{
	unsigned long long cookie = 0;
	socklen_t size = sizeof(cookie);
	int fd = option == SO_COOKIE ? *fd_of(1) : socket(AF_INET, SOCK_DGRAM, 0);

	if (getsockopt(fd, SOL_SOCKET, option, &cookie, &size) < 0)
		return outcome(-1);
	if (option != SO_COOKIE)
		close(fd);
	printf("ok %llu\n", cookie);
}

/* Waits until each of these sockets has an error, and leaves it there. */
static void wait_for_errors(void)
{
	int first = atoi(words[1]), last = atoi(words[2]);

	for (int n = first; n <= last; n++)
		if (wait_for(fds[n], POLLERR, 3) < 0)
			return outcome(-1);
	ok();
}

/* Sends the socket to ourselves over a UNIX socket: another descriptor of the same socket. */
static void pass(void)
{
	int pair[2];
	char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *header = (struct cmsghdr *)control;

	*header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(header), fd_of(1), sizeof(int));
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0 || sendmsg(pair[0], &message, 0) < 0 ||
	    recvmsg(pair[1], &message, 0) < 0)
		return outcome(-1);
	memcpy(fd_of(2), CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	close(pair[0]);
	close(pair[1]);
	ok();
}

static void take_on(void)
{
	*fd_of(2) = wait_for(*fd_of(1), POLLIN, 3) < 0 ? -1 : accept(*fd_of(1), NULL, NULL);
	outcome(*fd_of(2));
}

static void serve_udp(int fd, const char *tag)
{
	for (;;) {
		union any_address address;
		socklen_t size = sizeof(address);
		char text[256], answer[300];
		ssize_t got = recvfrom(fd, text, sizeof(text) - 1, 0, &address.any, &size);

		if (got < 0)
			continue;
		text[got] = 0;
		snprintf(answer, sizeof(answer), "%s:%s", tag, text);
		sendto(fd, answer, strlen(answer), 0, &address.any, size);
	}
}

/* Greets each connection with the tag and leaves it open, until very many more have come. */
static void serve_tcp(int fd, const char *tag)
{
	int peers[MAX_SERVED];

	memset(peers, -1, sizeof(peers));
	for (int n = 0;; n = (n + 1) % MAX_SERVED) {
		close(peers[n]);
		peers[n] = accept(fd, NULL, NULL);
		if (write(peers[n], tag, strlen(tag)) < 0) {
			close(peers[n]);
			peers[n] = -1;
		}
	}
}

/* A child that answers at an address: the backend. Its sockets never meet the programs' frontends.
 */
static void serve(void)
{
	union any_address address;
	socklen_t size = address_of(2, &address);
	int udp = !strcmp(words[1], "udp"), one = 1;
	int fd = socket(address.any.sa_family, udp ? SOCK_DGRAM : SOCK_STREAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &one, sizeof(one));
	if (bind(fd, &address.any, size) < 0 || (!udp && listen(fd, 1024) < 0))
		return outcome(-1);
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (udp)
			serve_udp(fd, words[4]);
		else
			serve_tcp(fd, words[4]);
	}
	close(fd);
	ok();
}

static void close_socket(void)
{
	int result = close(*fd_of(1));

	*fd_of(1) = -1;
	outcome(result);
}

static void run_command(void)
{
	const char *command = words[0];

	if (!strcmp(command, "socket"))
		make_socket();
	else if (!strcmp(command, "v6only"))
		v6_only();
	else if (!strcmp(command, "bind"))
		bind_to();
	else if (!strcmp(command, "listen"))
		outcome(listen(*fd_of(1), 128));
	else if (!strcmp(command, "accept"))
		take_on();
	else if (!strcmp(command, "connect"))
		connect_to();
	else if (!strcmp(command, "start"))
		connect_start();
	else if (!strcmp(command, "finish"))
		connect_finish();
	else if (!strcmp(command, "unspec"))
		disconnect();
	else if (!strcmp(command, "sendto"))
		send_to(0);
	else if (!strcmp(command, "fastopen"))
		send_to(MSG_FASTOPEN);
	else if (!strcmp(command, "sendfrom"))
		send_from();
	else if (!strcmp(command, "send"))
		outcome(send(*fd_of(1), words[2], strlen(words[2]), MSG_NOSIGNAL));
	else if (!strcmp(command, "recvfrom"))
		receive(0);
	else if (!strcmp(command, "recvmsg"))
		receive(1);
	else if (!strcmp(command, "read"))
		read_text();
	else if (!strcmp(command, "peer"))
		show_peer();
	else if (!strcmp(command, "cookie"))
		show_cookie(SO_COOKIE);
	else if (!strcmp(command, "netns"))
		show_cookie(SO_NETNS_COOKIE);
	else if (!strcmp(command, "shutdown"))
		outcome(shutdown(*fd_of(1), SHUT_WR));
	else if (!strcmp(command, "dup"))
		outcome(*fd_of(2) = dup(*fd_of(1)));
	else if (!strcmp(command, "pass"))
		pass();
	else if (!strcmp(command, "close"))
		close_socket();
	else if (!strcmp(command, "serve"))
		serve();
	else if (!strcmp(command, "ended"))
		wait_for_errors();
	else if (!strcmp(command, "storm"))
		storm();
	else
		exit(2);
}

int main(void)
{
	char line[512];

	memset(fds, -1, sizeof(fds));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		int count = 0;

		memset(words, 0, sizeof(words));
		for (char *word = strtok(line, " \n"); word && count < MAX_WORDS;
		     word = strtok(NULL, " \n"))
			words[count++] = word;
		if (count)
			run_command();
	}
	return 0;
}
