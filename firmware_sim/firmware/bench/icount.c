/* QEMU TCG plug-in: prints the number of executed instructions whenever the one at `mark` is reached, and at the end.
 *
 * Debian ships no qemu-plugin.h, so version 1 of its interface is declared here. Instructions, not cycles. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct tb;
struct insn;
EXPORT int qemu_plugin_version = 1;
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct tb *));
extern size_t qemu_plugin_tb_n_insns(const struct tb *);
extern struct insn *qemu_plugin_tb_get_insn(const struct tb *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct insn *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct insn *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct insn *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

static uint64_t total, mark;

static void at_mark(unsigned cpu, void *data)
{
    (void)cpu;
    (void)data;
    fprintf(stderr, "instructions %llu\n", (unsigned long long)total);
}

static void translate(plugin_id id, struct tb *block)
{
    (void)id;
    for (size_t n = 0; n < qemu_plugin_tb_n_insns(block); n++) {
        struct insn *insn = qemu_plugin_tb_get_insn(block, n);
        if (qemu_plugin_insn_vaddr(insn) == mark) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, at_mark, 0, NULL);
        }
        qemu_plugin_register_vcpu_insn_exec_inline(insn, 0, &total, 1);
    }
}

static void at_end(plugin_id id, void *data)
{
    (void)id;
    (void)data;
    fprintf(stderr, "instructions %llu\n", (unsigned long long)total);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments)
{
    (void)info;
    for (int n = 0; n < count; n++) {
        if (!strncmp(arguments[n], "mark=", 5)) {
            mark = strtoull(arguments[n] + 5, NULL, 0);
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, at_end, NULL);
    return 0;
}
