/* The firmware against the golden vectors that were exported with it. */
#ifndef EDGELEARN_SELFTEST_H
#define EDGELEARN_SELFTEST_H

/* 0 if features, words, losses and weights are those of the Python engine; else which of them is not: 1 the model,
 * 2 the words, 3 the features, 4 the losses, 5 the weights. The device starts anew from the exported model. */
int el_selftest(void);

#endif
