#!/usr/bin/env bash
# install.sh FOLDER [PYTHON2.7]: the Autobahn TestSuite in a virtual environment there. It runs on Python 2.7 alone.
set -eu
folder=$1
python=${2:-python2.7}
tool=$(mktemp -d)
trap 'rm -rf "$tool"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUSERBASE=$tool PYTHONWARNINGS=ignore PIP_QUIET=1
"$python" -m pip install --user 'virtualenv==20.15.1'
"$python" -m virtualenv -q "$folder"
# What 25.10.1 needs is named here: its sdist lacks the list, so that pip would install none of it.
"$folder/bin/pip" install -q 'autobahntestsuite==25.10.1' 'autobahn[accelerate,twisted]==0.10.9' 'Twisted==20.3.0' \
    'klein==20.6.0' 'Werkzeug==1.0.1' 'jinja2==2.11.3' 'markupsafe==1.1.1' 'pyopenssl==21.0.0' 'cryptography==3.3.2' \
    'service_identity==21.1.0' 'unittest2==1.1.0' 'incremental==22.10.0'
"$folder/bin/python" -c 'import autobahntestsuite.wstest'
