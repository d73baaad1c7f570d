#!/bin/sh
# Pins everything that developing and testing napcore installs, for every Python and system at once, with hashes.
# Needs uv. Users are not bound by it: what they install is bounded below only (pyproject.toml).
cd "$(dirname "$0")/.." || exit 1
exec uv pip compile pyproject.toml --group dev --group fuzz --group plugins --extra trio --extra speed --extra re2 \
    --universal --python-version 3.10 --generate-hashes --no-annotate --no-header --quiet --upgrade \
    --output-file requirements/dev.txt
