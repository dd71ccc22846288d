#!/usr/bin/env bash
# What runs on a GPU, in one command of under ten minutes: the tests that need one, a short training of the paper's networks
# (ResNet-50, 256×128, mixed precision) on rendered people, and the time of a step.
#
#   tools/gpu_check.sh [OUTPUT]                   on a GPU; OUTPUT is output/gpu_check unless given, and must not exist
#   GPU_CHECK_DEVICE=cpu tools/gpu_check.sh       the same commands on a CPU, with small networks
set -euo pipefail
output=$(realpath -m "${1:-output/gpu_check}")
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
export GPU_CHECK_DEVICE=${GPU_CHECK_DEVICE:-cuda} FASTREID_DATASETS=${FASTREID_DATASETS:-$output/datasets}
if [ -e "$output" ]; then
  echo "error: $output is there already: name another folder" >&2
  exit 2
fi
mkdir -p "$output"

if [ "$GPU_CHECK_DEVICE" = cuda ]; then
  people=(DATASETS.SYNTHETIC.HEIGHT 256 DATASETS.SYNTHETIC.WIDTH 128 DATASETS.SYNTHETIC.TRAIN_IDENTITIES 60)
  networks=(MODEL.BACKBONE.DEPTH 50x MODEL.BACKBONE.FEAT_DIM 2048 MODEL.BACKBONE.WITH_NL True PRIVACY.ANONYMIZER.WIDTH 64
    PRIVACY.RECOVERY.WIDTH 64 PRIVACY.DISCRIMINATOR.WIDTH 64 INPUT.SIZE_TRAIN "[256, 128]" INPUT.SIZE_TEST "[256, 128]"
    SOLVER.AMP.ENABLED True SOLVER.MAX_EPOCH 4 SOLVER.STEPS "[3]" SOLVER.WARMUP_EPOCHS 0)
else
  people=(DATASETS.SYNTHETIC.TRAIN_IDENTITIES 12 DATASETS.SYNTHETIC.TEST_IDENTITIES 6 DATASETS.SYNTHETIC.CAMERAS 4
    DATASETS.SYNTHETIC.IMAGES_PER_CAMERA 2 DATASETS.SYNTHETIC.HEIGHT 64 DATASETS.SYNTHETIC.WIDTH 32)
  networks=(INPUT.SIZE_TRAIN "[64, 32]" INPUT.SIZE_TEST "[64, 32]" PRIVACY.ANONYMIZER.WIDTH 8 PRIVACY.RECOVERY.WIDTH 8
    SOLVER.IMS_PER_BATCH 8 SOLVER.MAX_EPOCH 2 SOLVER.STEPS "[1]" SOLVER.WARMUP_EPOCHS 0)
fi

"$python" -c "import torch; print(torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU')"
"$python" -m pytest -p no:cacheprovider tests/test_gpu.py tests/test_products.py tests/test_neighbours.py tests/test_ranking.py \
  tests/test_step.py tests/test_compat.py tests/test_compat_evaluation.py tests/test_retrieval_index.py
"$python" tools/train_net.py --config-file configs/Synthetic/privacy_agw.yml MODEL.DEVICE "$GPU_CHECK_DEVICE" \
  OUTPUT_DIR "$output/run" PRIVACY.UPGRADE.BASELINE_RANK1 5 PRIVACY.UPPER_BOUND "" "${people[@]}" "${networks[@]}"
if [ "$GPU_CHECK_DEVICE" = cuda ]; then
  "$python" tools/bench.py --parts steps --device cuda
fi
echo "GPU check: all of it ran on $GPU_CHECK_DEVICE; figures in $output/run/results.json"
