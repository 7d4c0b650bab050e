/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a program under what a container runtime's default seccomp profile leaves
 * to one with CAP_BPF and CAP_NET_ADMIN: everything that the profile refuses to
 * such a container fails here too, with the same errno, and no privilege can be
 * gained by an exec.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

/* Every CLONE_NEW flag. */
#define NAMESPACES 0x7e020000

static const int refused[] = {
    SYS_acct,
    SYS_add_key,
    SYS_chroot,
    SYS_clock_adjtime,
    SYS_clock_settime,
    SYS_delete_module,
    SYS_fanotify_init,
    SYS_finit_module,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fsopen,
    SYS_fspick,
    SYS_get_mempolicy,
    SYS_init_module,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_io_uring_setup,
    SYS_kcmp,
    SYS_kexec_file_load,
    SYS_kexec_load,
    SYS_keyctl,
    SYS_lookup_dcookie,
    SYS_mbind,
    SYS_migrate_pages,
    SYS_mount,
    SYS_mount_setattr,
    SYS_move_mount,
    SYS_move_pages,
    SYS_nfsservctl,
    SYS_open_by_handle_at,
    SYS_open_tree,
    SYS_perf_event_open,
    SYS_pivot_root,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_reboot,
    SYS_request_key,
    SYS_set_mempolicy,
    SYS_setdomainname,
    SYS_sethostname,
    SYS_setns,
    SYS_settimeofday,
    SYS_swapoff,
    SYS_swapon,
    SYS_syslog,
    SYS_umount2,
    SYS_unshare,
    SYS_userfaultfd,
    SYS_vhangup,
};

static struct sock_filter program[32 + 2 * COUNT(refused)];
static unsigned short length;

static void emit(unsigned short code, unsigned int k, unsigned char yes, unsigned char no)
{
	program[length++] = (struct sock_filter){code, yes, no, k};
}

static void load(size_t offset)
{
	emit(BPF_LD | BPF_W | BPF_ABS, (unsigned int)offset, 0, 0);
}

static void answer(unsigned int action)
{
	emit(BPF_RET | BPF_K, action, 0, 0);
}

static void build(void)
{
	load(offsetof(struct seccomp_data, arch));
	emit(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	answer(SECCOMP_RET_KILL_PROCESS);
	load(offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < COUNT(refused); i++) {
		emit(BPF_JMP | BPF_JEQ | BPF_K, refused[i], 0, 1);
		answer(SECCOMP_RET_ERRNO | EPERM);
	}
	/* Threads are made by clone() then, whose flags can be seen. */
	emit(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
	answer(SECCOMP_RET_ERRNO | ENOSYS);
	emit(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3);
	load(offsetof(struct seccomp_data, args[0]));
	emit(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1);
	answer(SECCOMP_RET_ERRNO | EPERM);
	load(offsetof(struct seccomp_data, nr));
	emit(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 4);
	load(offsetof(struct seccomp_data, args[0]));
	emit(BPF_JMP | BPF_JEQ | BPF_K, AF_VSOCK, 1, 0);
	emit(BPF_JMP | BPF_JEQ | BPF_K, AF_ALG, 0, 1);
	answer(SECCOMP_RET_ERRNO | EPERM);
	answer(SECCOMP_RET_ALLOW);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: confine PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	build();
	struct sock_fprog filter = {length, program};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
		perror("confine");
		return 1;
	}
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 1;
}
