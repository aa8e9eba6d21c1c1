# prepare.sh: sourced by ./test and ./demo from the top folder. Installs what a Debian machine lacks and builds.

packages='build-essential cmake ninja-build pkg-config flex bison check llvm-19-dev libclang-19-dev
  libclang-cpp19-dev clang-19 python3 python3-numpy python3-venv python3-pip'

say() { printf '== %s\n' "$*"; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

installed() { [ "$(dpkg-query -W -f='${Status}' "$1" 2>/dev/null)" = 'install ok installed' ]; }

install_missing() {
  missing=''
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || {
    say "no apt-get here; this needs: $(echo $packages)"
    return 0
  }
  for package in $packages; do
    installed "$package" || missing="$missing $package"
  done
  if [ -z "$missing" ]; then
    say 'all packages are installed'
    return 0
  fi
  say "installing$missing"
  as_root apt-get -qq update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
}

# Debian's Python has Debian's NumPy; another one earlier in PATH may have none.
choose_python() {
  python=python3
  if [ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import numpy' 2>/dev/null; then python=/usr/bin/python3; fi
}

build() {
  choose_python
  if [ ! -f build/CMakeCache.txt ]; then
    say 'configuring build/'
    werror=OFF
    [ "${CI:-}" = true ] && werror=ON
    cmake -G Ninja -S . -B build -DPLAIT_WERROR=$werror -DPython3_EXECUTABLE="$(command -v $python)" >build.log 2>&1 || {
      cat build.log
      return 1
    }
    mv build.log build/configure.log
  fi
  say 'building'
  cmake --build build --parallel "$(nproc)" >build/build.log 2>&1 || {
    tail -n 60 build/build.log
    return 1
  }
}

# NVIDIA's compiler, for the test that compiles GPU kernels with it; 50 MB, into build/. Without it that test is left out.
has_nvrtc() {
  for file in build/nvrtc/nvidia/*/lib/libnvrtc.so.* /usr/local/cuda*/lib64/libnvrtc.so.*; do
    [ -e "$file" ] && return 0
  done
  /sbin/ldconfig -p 2>/dev/null | grep -q 'libnvrtc\.so\.1'
}

fetch_nvrtc() {
  has_nvrtc && return 0
  say 'fetching NVRTC (PLAIT_NVRTC=0 leaves it out)'
  [ "${PLAIT_NVRTC:-}" != 0 ] && $python -m pip install --quiet --disable-pip-version-check --no-deps --retries 1 --timeout 20 \
    --target build/nvrtc nvidia-cuda-nvrtc >build/nvrtc.log 2>&1 && return 0
  rm -rf build/nvrtc
  say 'there is no NVRTC: what needs it is left out'
}
