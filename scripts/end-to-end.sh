#!/bin/sh
# Runs the end-to-end tests in tests/: every executable file named *.test.sh or *.test.py, in order of name.
# They use the programs in target/release. With arguments: only the tests whose path contains one of them.
set -eu
cd "$(dirname "$0")/.."

passed=0
failed=""
for test in $(find tests -type f \( -name '*.test.sh' -o -name '*.test.py' \) | LC_ALL=C sort); do
    if [ $# -gt 0 ]; then
        wanted=no
        for pattern in "$@"; do
            case "$test" in *"$pattern"*) wanted=yes ;; esac
        done
        [ "$wanted" = yes ] || continue
    fi
    printf '%s\n' "end-to-end: $test"
    case "$test" in
        *.py) set_python=/usr/bin/python3 ;;
        *) set_python=/bin/sh ;;
    esac
    if "$set_python" "$test"; then
        passed=$((passed + 1))
    else
        failed="$failed $test"
    fi
done
if [ -n "$failed" ]; then
    printf '%s\n' "end-to-end: $passed passed, failed:$failed" >&2
    exit 1
fi
printf '%s\n' "end-to-end: $passed passed, 0 failed"
