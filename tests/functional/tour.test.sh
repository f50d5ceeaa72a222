#!/bin/sh
# The tour is a promise of the README: every scene passes on real input.
set -eu
cd "$(dirname "$0")/../.."
exec scripts/tour
