// dtype.h: the scalar types and how their values are stored.
#ifndef PLAIT_IR_DTYPE_H
#define PLAIT_IR_DTYPE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum Dtype {
  DT_NONE,
#define DTYPE(NAME, ...) DT_##NAME,
#include "ir/dtype.def"
#undef DTYPE
  DT_COUNT
} Dtype;

typedef struct DtypeInfo {
  const char *name;     // as in the language
  int bits;             // of one stored value
  char kind;            // 'F' 'I' 'U' 'B'
  Dtype wide;           // the type of a read
  const char *c;        // C storage type, header-free; i4 and u4: of the byte that holds two
  const char *numpy;    // NumPy typestr
} DtypeInfo;
extern const DtypeInfo dtypes[DT_COUNT];

static inline bool dtype_is_float(Dtype d) { return dtypes[d].kind == 'F'; }
static inline bool dtype_is_int(Dtype d) { return dtypes[d].kind == 'I' || dtypes[d].kind == 'U'; }
static inline bool dtype_is_signed(Dtype d) { return dtypes[d].kind == 'I' || dtypes[d].kind == 'F'; }
static inline Dtype dtype_wide(Dtype d) { return dtypes[d].wide; }
static inline bool dtype_is_wide(Dtype d) { return dtypes[d].wide == d; }

Dtype dtype_by_name(const char *name);            // DT_NONE when it is no dtype
Dtype dtype_join(Dtype a, Dtype b);               // mixed operands, both wide: language.md "Types"; bool joins as i32

// A scalar of any wide dtype: f for floats (f32 values are exact floats), i for signed, u for unsigned, i 0/1 for bool.
typedef union Scalar { double f; int64_t i; uint64_t u; } Scalar;

// Storage. bits <-> value, round to nearest even; f16 and bf16 overflow to infinity, f8 saturate, NaN stays NaN
// (f8e4m3: the variant without infinity, S.1111.111 is NaN; f8e5m2 has both).
uint64_t dtype_encode(Dtype storage, Scalar wide_value);   // wide value (of dtype_wide(storage)) -> stored bits
Scalar dtype_decode(Dtype storage, uint64_t bits);         // stored bits -> wide value

// T(x) of the language: from a wide dtype to any dtype, result as the wide value of `to` after rounding there.
// Float to integer truncates and saturates, NaN gives 0; integers wrap; to bool x != 0.
Scalar dtype_cast(Scalar v, Dtype from_wide, Dtype to);

// Element k of storage at `base` (i4/u4: two a byte, low nibble first).
Scalar dtype_load(Dtype storage, const void *base, int64_t k);
void dtype_store(Dtype storage, void *base, int64_t k, Scalar wide_value);
int64_t dtype_bytes(Dtype storage, int64_t n);             // bytes of n elements; n even for i4/u4; never negative

// The least and greatest value of a wide dtype (floats: -inf, inf).
Scalar dtype_least(Dtype wide);
Scalar dtype_greatest(Dtype wide);
#endif
