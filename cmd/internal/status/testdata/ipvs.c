// Has ipvsadm list what is in services.txt and conns.txt, on kernels without IPVS: there is no
// netlink, the older getsockopt answers from the files, and so does /proc/net/ip_vs_conn.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/types.h>
#include <linux/ip_vs.h>

static struct ip_vs_service_entry services[64];
static struct ip_vs_dest_entry servers[64][64];
static int count;

static unsigned address(const char *text) {
	struct in_addr a;
	inet_aton(text, &a);
	return a.s_addr;
}

static void load(void) {
	char line[512], addr[64], name[64];
	FILE *f = fopen("services.txt", "r");
	if (count || !f)
		return;
	while (fgets(line, sizeof line, f)) {
		unsigned protocol, port, mark, flags, timeout, bits, method, upper, lower, active, inactive, templates;
		int weight;
		struct ip_vs_stats_user s;
		if (sscanf(line, "S %u %s %u %u %s %x %u %u %u %u %u %llu %llu %u %u %u %u %u", &protocol, addr, &port, &mark, name, &flags, &timeout, &bits,
				&s.conns, &s.inpkts, &s.outpkts, &s.inbytes, &s.outbytes, &s.cps, &s.inpps, &s.outpps, &s.inbps, &s.outbps) == 18) {
			struct ip_vs_service_entry *e = &services[count++];
			e->protocol = protocol, e->addr = address(addr), e->port = htons(port), e->fwmark = mark;
			strcpy(e->sched_name, name);
			e->flags = flags, e->timeout = timeout, e->netmask = htonl(~0u << (32 - bits)), e->stats = s;
		} else if (sscanf(line, "D %s %u %u %d %u %u %u %u %u %u %u %u %llu %llu %u %u %u %u %u", addr, &port, &method, &weight, &upper, &lower, &active,
				&inactive, &templates, &s.conns, &s.inpkts, &s.outpkts, &s.inbytes, &s.outbytes, &s.cps, &s.inpps, &s.outpps, &s.inbps, &s.outbps) == 19) {
			struct ip_vs_dest_entry *d = &servers[count - 1][services[count - 1].num_dests++];
			d->addr = address(addr), d->port = htons(port), d->conn_flags = method, d->weight = weight, d->u_threshold = upper, d->l_threshold = lower;
			d->activeconns = active, d->inactconns = inactive, d->persistconns = templates, d->stats = s;
		}
	}
	fclose(f);
}

static int find(unsigned mark, unsigned protocol, unsigned addr, unsigned port) {
	for (int i = 0; i < count; i++)
		if (services[i].fwmark == mark && services[i].protocol == protocol && services[i].addr == addr && services[i].port == port)
			return i;
	errno = ESRCH;
	return -1;
}

int socket(int domain, int type, int protocol) {
	int (*real)(int, int, int) = dlsym(RTLD_NEXT, "socket");
	if (domain == AF_NETLINK) {
		errno = EPROTONOSUPPORT;
		return -1;
	}
	return domain == AF_INET && type == SOCK_RAW ? real(AF_INET, SOCK_DGRAM, 0) : real(domain, type, protocol);
}

int getsockopt(int fd, int level, int name, void *to, socklen_t *len) {
	int (*real)(int, int, int, void *, socklen_t *) = dlsym(RTLD_NEXT, "getsockopt");
	struct ip_vs_getinfo *info = to;
	struct ip_vs_get_services *all = to;
	struct ip_vs_service_entry *one = to;
	struct ip_vs_get_dests *dests = to;
	struct ip_vs_timeout_user *timeouts = to;
	int i;
	if (level != IPPROTO_IP || name < IP_VS_BASE_CTL)
		return real(fd, level, name, to, len);
	load();
	switch (name) {
	case IP_VS_SO_GET_VERSION:
		return 0;
	case IP_VS_SO_GET_INFO:
		info->version = 0x010201, info->size = 4096, info->num_services = count;
		return 0;
	case IP_VS_SO_GET_SERVICES:
		all->num_services = count;
		memcpy(all->entrytable, services, count * sizeof services[0]);
		return 0;
	case IP_VS_SO_GET_SERVICE:
		if ((i = find(one->fwmark, one->protocol, one->addr, one->port)) >= 0)
			*one = services[i];
		return i < 0 ? -1 : 0;
	case IP_VS_SO_GET_DESTS:
		if ((i = find(dests->fwmark, dests->protocol, dests->addr, dests->port)) >= 0)
			memcpy(dests->entrytable, servers[i], services[i].num_dests * sizeof servers[i][0]);
		return i < 0 ? -1 : 0;
	case IP_VS_SO_GET_TIMEOUT:
		timeouts->tcp_timeout = 900, timeouts->tcp_fin_timeout = 120, timeouts->udp_timeout = 300;
		return 0;
	}
	errno = EINVAL;
	return -1;
}

FILE *fopen64(const char *path, const char *mode) {
	FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen64");
	return real(strstr(path, "ip_vs_conn") ? "conns.txt" : path, mode);
}

FILE *fopen(const char *path, const char *mode) { return fopen64(path, mode); }
