#!/usr/bin/env bash
# A sweep on nodes of a Slurm cluster:  sbatch deploy/slurm.sh spaces/digits.yaml
# When the time is over, the same command goes on with what has no record.
#SBATCH --job-name=explorer
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=08:00:00
set -euo pipefail

space=$1
storage=${STORAGE:-$SLURM_SUBMIT_DIR/runs} # a folder that all nodes see, or s3://BUCKET/runs
source "${VENV:-.venv}/bin/activate"
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}'):6379

# Only who has the token can use the cluster: other users can reach its ports.
umask 077
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.explorer-token-$SLURM_JOB_ID
python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH"
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

# If trials share a GPU (gpus_per_trial below 1), NVIDIA MPS lets their kernels run at the same time:
# export CUDA_MPS_PIPE_DIRECTORY=/tmp/mps-$SLURM_JOB_ID CUDA_MPS_LOG_DIRECTORY=/tmp/mps-log-$SLURM_JOB_ID
# srun --overlap --ntasks-per-node=1 nvidia-cuda-mps-control -f &  # in the foreground: Slurm ends daemons of a step

# Starts Ray on every node, runs the command on the first one, and stops Ray. It ends before Slurm would
# end it, with its tables written.
srun ray symmetric-run --address "$address" --min-nodes "$SLURM_NNODES" --num-cpus "$SLURM_CPUS_PER_TASK" -- \
  python run_explore.py run "$space" --address auto --storage "$storage" --max-hours 7.8
