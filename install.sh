#!/usr/bin/env bash
# Installs everything into .venv (or VENV=DIR), on a machine with Python 3.11+ alone; no root needed.
# The Makefile and the Dockerfile both call it. EXTRAS=dev,onnxruntime chooses; TORCH_INDEX=URL another index for torch.
set -euo pipefail
cd "$(dirname "$0")"

venv=${VENV:-.venv}
python=${PYTHON:-python3}
refuse() { echo "install.sh: $1" >&2; exit 2; }
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }

# An environment without pip is what an earlier run left that failed for the reason below. Nothing else is emptied.
if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
  is_new_enough "$python" || refuse "$python is older than 3.11; name another: PYTHON=/usr/bin/python3.11 make"
  [ -e "$venv/pyvenv.cfg" ] || [ -z "$(ls -A "$venv" 2> /dev/null)" ] ||
    refuse "$venv has files, but no pip, and is no virtual environment; name another folder: VENV=DIR"
  "$python" -m venv --clear "$venv" ||
    refuse "python cannot make virtual environments; on Debian: apt-get install python3-venv"
fi
is_new_enough "$venv/bin/python" || refuse "$venv has a Python older than 3.11; remove it, or name another: VENV=DIR"

pip() { "$venv/bin/python" -m pip "$@" --disable-pip-version-check --quiet; }

# torch first: asked for by another package, its newest release and gigabytes of CUDA packages would come instead.
pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"
pip install --constraint constraints.txt --editable ".[${EXTRAS:-dev}]"

# coqui-tts wants these two to be there. Neither is used for files here, and pip would resolve other torches for them.
pip install --no-deps torchaudio==2.11.0 torchcodec==0.13.0

case ",${EXTRAS:-dev}," in
  *,mediapipe,*) pip install --constraint constraints.txt --no-deps mediapipe ;;
esac

# The registry's torchaudio is a CUDA build; beside a CPU build of torch its library does not load, and without it the
# parts in plain Python, which are all that XTTS needs, do.
"$venv/bin/python" - <<'PYTHON'
import importlib.util, pathlib, shutil
import torch
if torch.version.cuda is None:
    shutil.rmtree(pathlib.Path(importlib.util.find_spec("torchaudio").origin).parent / "lib", ignore_errors=True)
PYTHON
touch "$venv/.installed"
