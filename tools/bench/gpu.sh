#!/usr/bin/env bash
# Measure everything on a machine with an NVIDIA card and nothing else: the installation, then seven minutes at most (--minutes):
#     tools/bench/gpu.sh OUT.json [options of tools.bench.gpu, such as --device cpu --sizes 128]
# WHEELS=FOLDER installs from wheels in a folder, without the internet. PyTorch is used if the machine has it, or
# with TORCH=1 installed.
set -euo pipefail
out=$(realpath "$1")
shift
cd "$(dirname "$0")/../.."
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
python3 -m venv --system-site-packages "$environment"
python=$environment/bin/python
install=("$python" -m pip install)
if [ -n "${WHEELS:-}" ]; then install+=(--no-index --find-links "$WHEELS"); fi

"${install[@]}" ".[test]" ${TORCH:+torch}
case " $* " in
*" --device cpu "*) ;;
*) # onnxruntime and onnxruntime-gpu own the same folder.
    "$python" -m pip uninstall -y onnxruntime
    "${install[@]}" 'onnxruntime-gpu[cuda,cudnn]'
    ;;
esac
"$python" -m tools.bench.gpu --output "$out" "$@"
