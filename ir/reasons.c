#include "ir/kernel.h"

const ReasonInfo reasons[REASON_COUNT] = {
#define REASON(NAME, id, slug, what) [REASON_##NAME] = { id, slug, what },
#include "ir/reasons.def"
#undef REASON
};
