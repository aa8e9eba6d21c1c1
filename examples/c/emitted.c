// emitted.c: calls a kernel that `plait emit` wrote (see the Makefile). Nothing of Plait is needed to build or run it.
#include "softmax.h"
#include <math.h>
#include <stdio.h>

enum { ROWS = 3, COLUMNS = 5 };

int main(void) {
  float x[ROWS * COLUMNS], y[ROWS * COLUMNS];
  for (int k = 0; k < ROWS * COLUMNS; k++) x[k] = (float)(k * k % 7);

  int failed = row_softmax(ROWS, COLUMNS, x, y);
  if (failed) {
    fprintf(stderr, "row_softmax: check %d failed\n", failed);
    return 1;
  }
  for (int i = 0; i < ROWS; i++) {
    double sum = 0;
    for (int j = 0; j < COLUMNS; j++) {
      printf(" %.4f", y[i * COLUMNS + j]);
      sum += y[i * COLUMNS + j];
    }
    printf("   sum %.6f\n", sum);
    if (fabs(sum - 1) > 2e-6) return 1;   // exp is within 4 ulp, above and below: 2^-20; the rest are single roundings
  }
  return 0;
}
