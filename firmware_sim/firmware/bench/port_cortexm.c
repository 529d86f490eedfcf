/* The test bench on a Cortex-M under QEMU: the script is script.bin, through ARM semihosting; no C library. */
#include "port.h"

#define PAINT UINT32_C(0xA5A5A5A5)

extern uint32_t el_stack_top, el_stack_limit, el_data_start, el_data_end, el_data_load, el_bss_start, el_bss_end;
void el_reset_handler(void);
int bench_run(void);

static void fault(void);

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &el_stack_top, (const void *)el_reset_handler, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault};

static int host(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void quit(uint32_t code)
{
    uint32_t block[2] = {0x20026, code};
    host(0x20, block);
    for (;;) {
    }
}

static void fault(void)
{
    port_print("fault\n");
    quit(99);
}

static int open_script(void)
{
    static const char name[] = "script.bin";
    uint32_t block[3] = {(uint32_t)name, 1 /* rb */, sizeof name - 1};
    return host(1, block);
}

static int script = -1;

size_t port_read(uint8_t *bytes, size_t count)
{
    uint32_t block[3] = {(uint32_t)script, (uint32_t)bytes, count};
    return script < 0 ? 0 : count - (uint32_t)host(6, block);
}

void port_print(const char *text)
{
    host(4, text);
}

__attribute__((noinline)) void port_mark(void)
{
    __asm__ volatile("");
}

uint32_t port_stack_bytes(void)
{
    const uint32_t *p = &el_stack_limit;
    while (p < &el_stack_top && *p == PAINT) {
        p++;
    }
    return (uint32_t)((const char *)&el_stack_top - (const char *)p);
}

void el_reset_handler(void)
{
    uint32_t *here = (uint32_t *)__builtin_frame_address(0) - 32; /* below this frame and the calls of this loop */
    for (uint32_t *to = &el_data_start, *from = &el_data_load; to < &el_data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &el_bss_start; to < &el_bss_end;) {
        *to++ = 0;
    }
    for (uint32_t *to = &el_stack_limit; to < here;) {
        *to++ = PAINT;
    }
    script = open_script();
    quit((uint32_t)bench_run());
}

void *memcpy(void *to, const void *from, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        ((char *)to)[n] = ((const char *)from)[n];
    }
    return to;
}

void *memset(void *to, int value, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        ((char *)to)[n] = (char)value;
    }
    return to;
}
