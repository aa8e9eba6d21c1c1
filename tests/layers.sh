#!/bin/sh
# layers.sh [root]: fails on an #include that points the wrong way.
#
#   base <- ir <- {frontend, passes, codegen};  runtime <- {base, ir};  runtime/api.c <- all
#   cli, and tests of the public interface, use only plait.h (and cli its own headers)
#
# Also: the one printer of kernels does not branch on its target, and only runtime/jit_clang.cpp knows LLVM.
cd "${1:-$(dirname "$0")/..}" || exit 2
passed=0
failed=0

# claim TEXT OFFENDERS: the claim holds when there are no offenders.
claim() {
  if [ -z "$2" ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s\n%s\n' "$1" "$2"
  fi
}

# arrows FOLDER ALLOWED: quoted includes in FOLDER of files outside ALLOWED (an alternation of folders).
arrows() {
  grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' --include='*.[chyl]' --include='*.def' --include='*.cpp' "$1" 2>/dev/null |
    grep -vE "\"($2)/[^\"]*\"" | grep -v "^runtime/api[a-z_]*\.[ch]:"
}

claim 'base includes only base' "$(arrows base 'base')"
claim 'ir includes only base and ir' "$(arrows ir 'base|ir')"
claim 'frontend includes only base, ir and frontend' "$(arrows frontend 'base|ir|frontend')"
claim 'passes include only base, ir and passes' "$(arrows passes 'base|ir|passes')"
claim 'codegen includes only base, ir and codegen' "$(arrows codegen 'base|ir|codegen')"
claim 'runtime but its api includes only base, ir and runtime' \
  "$(arrows runtime 'base|ir|runtime' | grep -vE '^runtime/jit_clang\.cpp:.*"(llvm|llvm-c|clang)/')"
claim 'cli includes only plait.h and cli' "$(arrows cli 'cli' | grep -v '"plait.h"')"
# A pass may consist of several files (lower.c, lower_expr.c), which share its header.
foreign_pass_headers() {
  grep -rnE '^#include "passes/[a-z]+\.h"' --include='*.c' passes 2>/dev/null |
    sed -E 's|^(passes/([a-z]+)[a-z_]*\.c:[0-9]*:.*passes/([a-z]+)\.h.*)$|\2 \3 \1|' |
    awk '$1 != $2 && $2 != "pass" && $2 != "rules" { $1 = $2 = ""; print }'
}
claim 'passes do not include each other' "$(foreign_pass_headers | grep -v '"passes/group\.h"')"
claim 'the printer does not branch on its target' "$(grep -nEi 'if[[:space:]]*\([^)]*cuda' codegen/emit*.c 2>/dev/null)"
claim 'only jit_clang.cpp includes LLVM or Clang in C++' \
  "$(grep -rnE '#include [<"](llvm|clang)/' --include='*.[ch]' --include='*.cpp' base ir frontend passes codegen runtime cli include |
    grep -v '^runtime/jit_clang\.cpp:')"
claim 'the environment is read in runtime/api.c and the cli only' \
  "$(grep -rnwE '(secure_)?getenv' --include='*.[chyl]' --include='*.cpp' base ir frontend passes codegen runtime | grep -v '^runtime/api[a-z_]*\.c:')"
claim 'frontend, ir, passes and codegen free nothing, but for the interpreter its tensors' \
  "$(grep -rnE '(^|[^a-z_])free[[:space:]]*\(' --include='*.[ch]' ir frontend passes codegen | grep -v '^ir/interp_memory\.c:')"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
