/* The test bench on a computer: the script is the file that is named, or stdin. */
#include "port.h"

#include <stdio.h>

int bench_run(void);

static FILE *script;

size_t port_read(uint8_t *bytes, size_t count)
{
    return fread(bytes, 1, count, script);
}

void port_print(const char *text)
{
    fputs(text, stdout);
}

void port_mark(void)
{
}

uint32_t port_stack_bytes(void)
{
    return 0;
}

int main(int count, char **arguments)
{
    script = count > 1 ? fopen(arguments[1], "rb") : stdin;
    return script ? bench_run() : 2;
}
