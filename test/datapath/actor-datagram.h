/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams of an actor: sent to somebody, from a chosen address, and received with their sender's.
 */
#ifndef ACTOR_DATAGRAM_H
#define ACTOR_DATAGRAM_H

static void send_to(int flags)
{
	union any_address address;
	socklen_t size = address_of(2, &address);

	outcome(sendto(*fd_of(1), words[4], strlen(words[4]), flags, &address.any, size));
}

/* The control message that asks for a source address, of its family. */
static void ask_source(struct cmsghdr *header, const char *source)
{
	if (strchr(source, ':')) {
		struct in6_pktinfo info = {0};

		inet_pton(AF_INET6, source, &info.ipi6_addr);
		*header = (struct cmsghdr){CMSG_LEN(sizeof(info)), IPPROTO_IPV6, IPV6_PKTINFO};
		memcpy(CMSG_DATA(header), &info, sizeof(info));
	} else {
		struct in_pktinfo info = {0};

		inet_pton(AF_INET, source, &info.ipi_spec_dst);
		*header = (struct cmsghdr){CMSG_LEN(sizeof(info)), IPPROTO_IP, IP_PKTINFO};
		memcpy(CMSG_DATA(header), &info, sizeof(info));
	}
}

/* sendmsg() that asks for a source address. */
static void send_from(void)
{
	union any_address address;
	char control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = {0};
	struct iovec data = {words[4], strlen(words[4])};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
	struct cmsghdr *header = (struct cmsghdr *)control;

	message.msg_name = &address;
	message.msg_namelen = address_of(2, &address);
	ask_source(header, words[5]);
	message.msg_control = control;
	message.msg_controllen = CMSG_ALIGN(header->cmsg_len);
	outcome(sendmsg(*fd_of(1), &message, 0));
}

/* What arrived and from where, by recvfrom() or recvmsg(). */
static void receive(int by_message)
{
	union any_address address = {0};
	socklen_t size = sizeof(address);
	char text[256];
	struct iovec data = {text, sizeof(text) - 1};
	struct msghdr message = {
	    .msg_name = &address, .msg_namelen = size, .msg_iov = &data, .msg_iovlen = 1};
	ssize_t got = wait_for(*fd_of(1), POLLIN, 2);

	if (!got)
		got = by_message
			  ? recvmsg(*fd_of(1), &message, 0)
			  : recvfrom(*fd_of(1), text, sizeof(text) - 1, 0, &address.any, &size);
	if (got < 0)
		return outcome(-1);
	text[got] = 0;
	printf("ok %s %s\n", text, text_of(&address));
}

#endif
