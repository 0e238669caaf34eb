/*
 * One end of the shop's traffic: calls, serves, attempts and forges, an exact number of times, and says what
 * it really did. Static, so that it runs in an image made of nothing.
 *
 *   peer STEP [then STEP]...
 *     call HOST PORT TIMES REQUEST RESPONSE        tcp: send REQUEST bytes, await RESPONSE bytes, close
 *     attempt HOST PORT TIMES                      tcp: open at once, give up after 800 ms, before a SYN is repeated
 *     ask HOST PORT TIMES REQUEST RESPONSE         udp: RESPONSE 0 awaits nothing
 *     keep HOST PORT TIMES REQUEST RESPONSE MARK   tcp: one exchange, create MARK.open, wait for MARK,
 *                                                  TIMES exchanges on the same connection, create MARK.done, stay
 *     forge SOURCE HOST PORT TIMES                 tcp SYNs under an address that is not ours
 *     inject DEVICE                                send what standard input holds: frames, each behind its length
 *                                                  in two bytes, the higher one first
 *     serve PROTOCOL/PORT...                       answer for ever
 *     wait                                         do nothing for ever
 *
 * Each step prints one line: answered refused unanswered sent received (the last two in bytes of payload).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GIVE_UP_MS = 800, ANSWER_MS = 10000, LARGEST = 60000, MOST_SOCKETS = 64, MOST_LISTENERS = 8, BATCH = 64, FRAME = 2048 };

struct counts {
    long answered, refused, unanswered, sent, received;
};

static void die(const char *what) {
    fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void report(const struct counts *c) {
    printf("%ld\t%ld\t%ld\t%ld\t%ld\n", c->answered, c->refused, c->unanswered, c->sent, c->received);
    fflush(stdout);
}

static struct sockaddr_in resolve(const char *host, const char *port) {
    struct addrinfo wanted = {.ai_family = AF_INET}, *found;
    struct sockaddr_in address;
    int error = getaddrinfo(host, port, &wanted, &found);
    if (error) {
        fprintf(stderr, "peer: %s: %s\n", host, gai_strerror(error));
        exit(1);
    }
    memcpy(&address, found->ai_addr, sizeof address);
    freeaddrinfo(found);
    return address;
}

/* A request says how long its answer shall be, is `size` bytes long, and ends with its only line feed. */
static void write_request(char *buffer, size_t size, long response) {
    int head = snprintf(buffer, size, "GET /%ld?", response);
    if (head < 0 || (size_t)head >= size) {
        fprintf(stderr, "peer: a request of %zu bytes cannot carry its own size\n", size);
        exit(1);
    }
    memset(buffer + head, '.', size - head);
    buffer[size - 1] = '\n';
}

static long send_all(int socket, const char *buffer, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t n = send(socket, buffer + done, size - done, MSG_NOSIGNAL);
        if (n < 0) return -1;
        done += n;
    }
    return (long)done;
}

static long receive_all(int socket, size_t size) {
    static char buffer[LARGEST];
    size_t done = 0;
    while (done < size) {
        struct pollfd ready = {.fd = socket, .events = POLLIN};
        if (poll(&ready, 1, ANSWER_MS) != 1) break;
        ssize_t n = recv(socket, buffer, size - done < LARGEST ? size - done : LARGEST, 0);
        if (n <= 0) break;
        done += n;
    }
    return (long)done;
}

static void exchange(int socket, long request, long response, struct counts *c) {
    static char buffer[LARGEST];
    if (request > LARGEST) die("request too long");
    write_request(buffer, request, response);
    long sent = send_all(socket, buffer, request), received = receive_all(socket, response);
    c->sent += sent > 0 ? sent : 0;
    c->received += received;
    if (received == response) c->answered++;
    else c->unanswered++;
}

static int open_tcp(const char *host, const char *port) {
    struct sockaddr_in to = resolve(host, port);
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0) die("socket");
    if (connect(s, (struct sockaddr *)&to, sizeof to) == 0) return s;
    int error = errno;
    close(s);
    errno = error;
    return -1;
}

static void call(char **a) {
    struct counts c = {0};
    for (long i = 0; i < atol(a[2]); i++) {
        int s = open_tcp(a[0], a[1]);
        if (s < 0) {
            if (errno == ECONNREFUSED) c.refused++;
            else c.unanswered++;
            continue;
        }
        exchange(s, atol(a[3]), atol(a[4]), &c);
        /* The far end closes in answer; waiting for it keeps the closing of one call out of the next. */
        shutdown(s, SHUT_WR);
        receive_all(s, 1);
        close(s);
    }
    report(&c);
}

static void attempt(char **a) {
    struct sockaddr_in to = resolve(a[0], a[1]);
    struct pollfd sockets[MOST_SOCKETS];
    struct counts c = {0};
    long times = atol(a[2]);
    if (times > MOST_SOCKETS) die("too many attempts");
    for (long i = 0; i < times; i++) {
        sockets[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        sockets[i].events = POLLOUT;
        if (sockets[i].fd < 0) die("socket");
        if (connect(sockets[i].fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
    }
    usleep(GIVE_UP_MS * 1000);
    if (poll(sockets, times, 0) < 0) die("poll");
    for (long i = 0; i < times; i++) {
        int error = 0;
        socklen_t size = sizeof error;
        if (!sockets[i].revents) c.unanswered++;
        else if (getsockopt(sockets[i].fd, SOL_SOCKET, SO_ERROR, &error, &size) || error) c.refused++;
        else c.answered++;
        close(sockets[i].fd);
    }
    report(&c);
}

static void ask(char **a) {
    static char buffer[LARGEST];
    struct sockaddr_in to = resolve(a[0], a[1]);
    struct counts c = {0};
    long request = atol(a[3]), response = atol(a[4]);
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof to)) die("socket");
    if (request > LARGEST) die("request too long");
    write_request(buffer, request, response);
    for (long i = 0; i < atol(a[2]); i++) {
        c.sent += send_all(s, buffer, request);
        long received = response ? receive_all(s, response) : 0;
        c.received += received;
        if (response && received == response) c.answered++;
        else c.unanswered++;
    }
    report(&c);
}

static void mark(const char *name, const char *ending) {
    char path[256];
    snprintf(path, sizeof path, "%s%s", name, ending);
    close(open(path, O_CREAT | O_WRONLY, 0600));
}

static void keep(char **a) {
    struct counts c = {0};
    int s = open_tcp(a[0], a[1]);
    if (s < 0) die(a[0]);
    exchange(s, atol(a[3]), atol(a[4]), &c);
    mark(a[5], ".open");
    while (access(a[5], F_OK)) usleep(20000);
    c = (struct counts){0};
    for (long i = 0; i < atol(a[2]); i++) exchange(s, atol(a[3]), atol(a[4]), &c);
    report(&c);
    mark(a[5], ".done");
    for (;;) pause();
}

/* RFC 1071, over an even number of bytes. */
static unsigned short checksum(const void *data, size_t size) {
    const unsigned char *bytes = data;
    unsigned long sum = 0;
    for (size_t i = 0; i + 1 < size; i += 2) sum += (unsigned long)bytes[i] << 8 | bytes[i + 1];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return htons((unsigned short)~sum);
}

static void forge(char **a) {
    struct sockaddr_in from = resolve(a[0], NULL), to = resolve(a[1], a[2]);
    struct counts c = {0};
    int s = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    if (s < 0) die("raw socket");
    for (long i = 0; i < atol(a[3]); i++) {
        struct {
            struct iphdr ip;
            struct tcphdr tcp;
        } frame = {0};
        struct {
            unsigned source, destination;
            unsigned short protocol, size;
            struct tcphdr tcp;
        } pseudo = {from.sin_addr.s_addr, to.sin_addr.s_addr, htons(IPPROTO_TCP), htons(sizeof frame.tcp), {{{0}}}};
        frame.ip.version = 4;
        frame.ip.ihl = 5;
        frame.ip.ttl = 64;
        frame.ip.protocol = IPPROTO_TCP;
        frame.ip.saddr = from.sin_addr.s_addr;
        frame.ip.daddr = to.sin_addr.s_addr;
        frame.tcp.source = htons(20000 + i); /* below the range the kernel gives to clients */
        frame.tcp.dest = to.sin_port;
        frame.tcp.seq = htonl(1000 * i);
        frame.tcp.doff = 5;
        frame.tcp.syn = 1;
        frame.tcp.window = htons(64240);
        pseudo.tcp = frame.tcp;
        frame.tcp.check = checksum(&pseudo, sizeof pseudo);
        if (sendto(s, &frame, sizeof frame, 0, (struct sockaddr *)&to, sizeof to) < 0) die("sendto");
        c.unanswered++; /* whoever owns the address gets the answers */
        usleep(5000);
    }
    report(&c);
}

/* All of them, in their order: a device that has no room is asked again. */
static void send_batch(int s, struct mmsghdr *messages, int count) {
    for (int done = 0; done < count;) {
        int n = sendmmsg(s, messages + done, count - done, 0);
        if (n > 0) done += n;
        else if (errno == ENOBUFS || errno == EAGAIN) usleep(50);
        else die("sendmmsg");
    }
}

static void inject(char **a) {
    static unsigned char frames[BATCH][FRAME];
    struct iovec pieces[BATCH];
    struct mmsghdr messages[BATCH] = {0};
    struct counts c = {0};
    unsigned char size[2];
    /* Protocol 0: it sends, and nothing is received. */
    struct sockaddr_ll device = {.sll_family = AF_PACKET};
    int s = socket(AF_PACKET, SOCK_RAW, 0), waiting = 0;
    if (s < 0) die("packet socket");
    device.sll_ifindex = if_nametoindex(a[0]);
    if (!device.sll_ifindex || bind(s, (struct sockaddr *)&device, sizeof device)) die(a[0]);
    while (fread(size, 1, 2, stdin) == 2) {
        size_t length = (size_t)size[0] << 8 | size[1];
        if (length > FRAME || fread(frames[waiting], 1, length, stdin) != length) die("a frame cut short");
        pieces[waiting] = (struct iovec){frames[waiting], length};
        messages[waiting].msg_hdr = (struct msghdr){.msg_iov = &pieces[waiting], .msg_iovlen = 1};
        c.unanswered++;
        c.sent += length;
        if (++waiting == BATCH) {
            send_batch(s, messages, waiting);
            waiting = 0;
        }
    }
    send_batch(s, messages, waiting);
    close(s);
    report(&c);
}

static void serve_connection(int s) {
    static char buffer[LARGEST];
    for (;;) {
        size_t have = 0;
        while (have == 0 || buffer[have - 1] != '\n') {
            ssize_t n = recv(s, buffer + have, sizeof buffer - have, 0);
            if (n <= 0) _exit(0);
            have += n;
        }
        long response = atol(buffer + strlen("GET /"));
        memset(buffer, 'x', sizeof buffer);
        if (response < 0 || response > LARGEST || send_all(s, buffer, response) < 0) _exit(0);
    }
}

static void serve(char **a, int n) {
    struct pollfd listeners[MOST_LISTENERS];
    int datagram[MOST_LISTENERS], on = 1;
    static char buffer[LARGEST];
    if (n > MOST_LISTENERS) die("too many ports");
    signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < n; i++) {
        const char *slash = strchr(a[i], '/');
        if (!slash) die("a port is PROTOCOL/NUMBER");
        struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(slash + 1))};
        datagram[i] = !strncmp(a[i], "udp", 3);
        int s = socket(AF_INET, datagram[i] ? SOCK_DGRAM : SOCK_STREAM, 0);
        if (s < 0 || setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)) die("socket");
        if (bind(s, (struct sockaddr *)&here, sizeof here)) die(a[i]);
        if (!datagram[i] && listen(s, 128)) die(a[i]);
        listeners[i] = (struct pollfd){.fd = s, .events = POLLIN};
    }
    for (;;) {
        if (poll(listeners, n, -1) < 0) continue;
        for (int i = 0; i < n; i++) {
            if (!(listeners[i].revents & POLLIN)) continue;
            if (datagram[i]) {
                struct sockaddr_in from;
                socklen_t size = sizeof from;
                ssize_t got = recvfrom(listeners[i].fd, buffer, sizeof buffer - 1, 0, (void *)&from, &size);
                if (got < 6) continue;
                buffer[got] = 0;
                long response = atol(buffer + strlen("GET /"));
                if (response > 0 && response <= LARGEST)
                    sendto(listeners[i].fd, buffer, response, 0, (void *)&from, size);
                continue;
            }
            int s = accept(listeners[i].fd, NULL, NULL);
            if (s < 0) continue;
            if (fork() == 0) serve_connection(s);
            close(s);
        }
    }
}

static void leave(int signal) {
    (void)signal;
    _exit(0);
}

int main(int argc, char **argv) {
    int i = 1;
    /* As process 1 of a container the default would be to ignore it. */
    signal(SIGTERM, leave);
    while (i < argc) {
        int end = i;
        while (end < argc && strcmp(argv[end], "then")) end++;
        char *step = argv[i], **a = argv + i + 1;
        int n = end - i - 1;
        if (!strcmp(step, "call") && n == 5) call(a);
        else if (!strcmp(step, "attempt") && n == 3) attempt(a);
        else if (!strcmp(step, "ask") && n == 5) ask(a);
        else if (!strcmp(step, "keep") && n == 6) keep(a);
        else if (!strcmp(step, "forge") && n == 4) forge(a);
        else if (!strcmp(step, "inject") && n == 1) inject(a);
        else if (!strcmp(step, "serve") && n > 0) serve(a, n);
        else if (!strcmp(step, "wait") && n == 0) for (;;) pause();
        else {
            fprintf(stderr, "peer: unknown step or wrong number of arguments: %s\n", step);
            return 2;
        }
        i = end + 1;
    }
    return 0;
}
