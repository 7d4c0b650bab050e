/* SPDX-License-Identifier: Apache-2.0 */
/* Many processes at once whose sockets call a Service in any order, as fast as they can. */
#ifndef ACTOR_STORM_H
#define ACTOR_STORM_H

#define STORM_SOCKETS 4

static void storm_call(int *fd, int tcp, const union any_address *to, socklen_t size)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	if (*fd < 0)
		*fd = socket(to->any.sa_family,
			     (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	switch (rand() % 6) {
	case 0:
		close(*fd);
		*fd = -1;
		break;
	case 1:
		connect(*fd, &none, sizeof(none));
		break;
	case 2:
		if (!tcp)
			sendto(*fd, "x", 1, 0, &to->any, size);
		break;
	default:
		connect(*fd, &to->any, size);
	}
}

/* One child's rounds: half of its sockets are TCP. */
static void storm_child(int rounds, union any_address *tcp, union any_address *udp, socklen_t size)
{
	int sockets[STORM_SOCKETS];

	memset(sockets, -1, sizeof(sockets));
	srand(getpid());
	for (int i = 0; i < rounds; i++) {
		int n = rand() % STORM_SOCKETS, is_tcp = n % 2;

		storm_call(&sockets[n], is_tcp, is_tcp ? tcp : udp, size);
	}
	_exit(0);
}

/* storm CHILDREN ROUNDS ADDRESS TCP-PORT ADDRESS UDP-PORT; ends when all of them have. */
static void storm(void)
{
	union any_address tcp, udp;
	socklen_t size = address_of(3, &tcp);
	int children = atoi(words[1]), rounds = atoi(words[2]);

	address_of(5, &udp);
	while (children-- > 0)
		if (!fork())
			storm_child(rounds, &tcp, &udp, size);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	ok();
}

#endif
