/* What the test bench needs of the machine it runs on. */
#ifndef EDGELEARN_PORT_H
#define EDGELEARN_PORT_H

#include <stddef.h>
#include <stdint.h>

/* Read the next `count` bytes of the script; fewer are returned only at its end. */
size_t port_read(uint8_t *bytes, size_t count);
void port_print(const char *text);
/* A place that an instruction counter can watch: called between two pieces of work. */
void port_mark(void);
/* Bytes of stack that were ever in use, 0 where that is not known. */
uint32_t port_stack_bytes(void);

#endif
