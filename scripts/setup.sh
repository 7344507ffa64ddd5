#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Set up everything that `make demo` and `make test` need: system packages (through apt when root),
# the virtual environment, the pinned locks, vision_msgs and tf2_msgs, and this package.
# A step whose inputs did not change since it last succeeded is skipped.
#
#   PYTHON    the interpreter to use (default: python3)
#   VENV      the virtual environment (default: .venv)
#   ROS_LOCK  which ROS wheels: ros (Kilted, default) or ros-jazzy; unused with a sourced ROS
#   KERNELS   1: Triton as well, for the tests of the GPU kernels
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/env.sh

VENV="${VENV:-.venv}"
PYTHON="${PYTHON:-python3}"
ROS_LOCK="${ROS_LOCK:-ros}"
STAMPS="$VENV/.setup"
LOG="$STAMPS/setup.log"

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

# Run a command with its output in the log; on a terminal, show the log's last line meanwhile.
logged() {
    "$@" >>"$LOG" 2>&1 &
    local job=$!
    while [ -t 1 ] && kill -0 "$job" 2>/dev/null; do
        printf '\r\033[K  %s' "$(tail -n 1 "$LOG" | cut -c "1-$((${COLUMNS:-80} - 3))")"
        sleep 0.5
    done
    [ -t 1 ] && printf '\r\033[K'
    wait "$job"
}

# done_before STEP KEY: whether STEP last succeeded with the same KEY. mark_done STEP KEY.
done_before() { [ -f "$STAMPS/$1" ] && [ "$(cat "$STAMPS/$1")" = "$2" ]; }
mark_done() { echo "$2" >"$STAMPS/$1"; }

last_error() { grep -iE '^(error|E:)|error:|No module' "$LOG" | tail -n 1 | cut -c 1-200 || true; }

apt_install() {
    local fix="apt-get install $*"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "missing system packages; run as root or install them yourself: sudo $fix"
    fi
    say "installing system packages: $*"
    local apt_log
    apt_log="$(mktemp)"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } \
        >"$apt_log" 2>&1 || fail "'$fix' failed: $(grep '^E:' "$apt_log" | tail -n 1)"
    rm -f "$apt_log"
}

# A sourced ROS distribution wins: its python, its packages.
ros_is_sourced() {
    [ -n "${ROS_DISTRO:-}" ] || return 1
    for candidate in "$PYTHON" /usr/bin/python3; do
        if "$candidate" -c 'import rclpy' 2>/dev/null; then PYTHON="$candidate"; return 0; fi
    done
    say "ROS_DISTRO is '$ROS_DISTRO' but no python3 here imports rclpy: using ROS wheels instead"
    unset PYTHONPATH AMENT_PREFIX_PATH
    return 1
}

check_python() {
    command -v "$PYTHON" >/dev/null || apt_install python3
    VERSION="$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" ||
        fail "'$PYTHON' does not run; set PYTHON to a Python 3.10 to 3.13"
    case "$VERSION" in
        3.10 | 3.11 | 3.12 | 3.13) ;;
        *) fail "'$PYTHON' is Python $VERSION, expected 3.10 to 3.13: make setup PYTHON=python3.12" ;;
    esac
}

check_system() {
    local missing=()
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=("python$VERSION-venv")
    if [ "$MODE" = wheels ]; then
        command -v g++ >/dev/null || missing+=(g++)
        "$PYTHON" -c 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")' \
            2>/dev/null || missing+=("python$VERSION-dev")
    fi
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

make_venv() {
    local key="$VERSION $MODE $ROS_LOCK $("$PYTHON" -c 'import sys; print(sys.base_prefix)')"
    done_before venv "$key" && [ -x "$VENV/bin/python" ] && return
    say "making the virtual environment $VENV (Python $VERSION, ROS from $MODE)"
    local options=()
    [ "$MODE" = distribution ] && options+=(--system-site-packages)
    "$PYTHON" -m venv --clear "${options[@]}" "$VENV" ||
        fail "making $VENV failed; is python$VERSION-venv installed and the disk not full?"
    mkdir -p "$STAMPS"
    mark_done venv "$key"
}

# install STEP WHAT PIP-ARGUMENTS...: pip install once for the same locks.
install() {
    local step="$1" what="$2" key
    shift 2
    key="$(cat requirements/*.txt | sha256sum) $*"
    done_before "$step" "$key" && return
    say "installing $what"
    : >"$LOG"
    logged "$VENV/bin/python" -m pip install --progress-bar off "$@" ||
        fail "installing $what failed: $(last_error) (is a package index reachable? all of it: $LOG)"
    mark_done "$step" "$key"
}

check_interfaces() {
    if [ "$MODE" = distribution ]; then
        local name
        for name in vision_msgs tf2_msgs; do
            "$VENV/bin/python" -c "import $name" 2>/dev/null ||
                fail "$name is missing: sudo apt-get install ros-$ROS_DISTRO-${name//_/-}"
        done
        return
    fi
    local inputs=(interfaces scripts/build_interfaces.py scripts/message_dispatch.cpp.in) key
    key="$(find "${inputs[@]}" -type f -exec sha256sum {} + | sort | sha256sum) $ROS_LOCK"
    done_before interfaces "$key" && return
    say "building vision_msgs and tf2_msgs"
    : >"$LOG"
    logged "$VENV/bin/python" scripts/build_interfaces.py interfaces/*_msgs ||
        fail "building interfaces failed: $(tail -n 1 "$LOG") (all of it: $LOG)"
    mark_done interfaces "$key"
}

install_package() {
    local key
    key="$(sha256sum setup.py setup.cfg package.xml training/pyproject.toml) $PWD"
    done_before package "$key" && return
    say "installing simdistill_ros and simdistill_training (editable)"
    : >"$LOG"
    logged "$VENV/bin/python" -m pip install --no-build-isolation --no-deps -e . -e training ||
        fail "installing the packages failed: $(last_error) (all of it: $LOG)"
    mark_done package "$key"
}

if ros_is_sourced; then MODE=distribution; else MODE=wheels; fi
check_python
check_system
make_venv
LOCKS=(-r requirements/runtime.txt -r requirements/replay.txt -r requirements/dev.txt)
LOCKS+=(-r requirements/training.txt -r requirements/training-sparse.txt -r requirements/export.txt)
LOCKS+=(-r requirements/tensorrt-build.txt -r requirements/docs.txt)
[ "$MODE" = wheels ] && LOCKS+=(-r "requirements/$ROS_LOCK.txt")
install torch "torch" -c requirements/runtime.txt -r requirements/torch.txt
install locks "the pinned packages of requirements/" --no-deps --no-build-isolation "${LOCKS[@]}"
[ "${KERNELS:-}" = 1 ] && install triton "Triton, 198 MB" --no-deps -r requirements/triton.txt
check_interfaces
install_package
say "ready: $VENV (Python $VERSION, ROS from $MODE)"
