// limits.h: every limit on what a program may ask for. Each has a diagnostic of its own (codes.def).
#ifndef PLAIT_BASE_LIMITS_H
#define PLAIT_BASE_LIMITS_H
enum {
  LIMIT_SOURCE_BYTES = 4 << 20,   // one file
  LIMIT_IMPORTS      = 256,       // files of one program
  LIMIT_NESTING      = 256,       // brackets, unary operators, if-chains of one expression
  LIMIT_CALL_DEPTH   = 64,        // functions inlined into each other
  LIMIT_NODES        = 1 << 20,   // expressions of one entry after inlining
  LIMIT_EQUATIONS    = 1 << 16,   // equations of one entry after inlining
  LIMIT_RANK         = 8,         // dimensions of a tensor, indices of an equation or reduction
  LIMIT_PARAMS       = 256,       // parameters and results of a function
  LIMIT_TABLE        = 1 << 16,   // elements of a const table
  LIMIT_BLOCK        = 1 << 12,   // values of a format's block
  LIMIT_ERRORS       = 20,        // diagnostics shown in one run
  LIMIT_EXPR_DEPTH   = 400,       // depth of an expression that a pass may build
};
#define LIMIT_EXTENT ((int64_t)1 << 40)    // of one dimension; also elements of one tensor
#define LIMIT_RANGE ((int64_t)1 << 31)     // steps of a range that comes from data
#endif
