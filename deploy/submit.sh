#!/usr/bin/env bash
# A sweep as a job of a Ray cluster that runs, with token authentication:  bash deploy/submit.sh spaces/digits.yaml
# On the head, once:
#   ray get-auth-token --generate                       # writes ~/.ray/auth_token, which Ray then asks for
#   ray start --head --dashboard-host 127.0.0.1
# The token's file is copied to whoever may submit; the dashboard is reached through SSH:
#   ssh -L 8265:127.0.0.1:8265 HEAD
# The pages are drawn afterwards, where you sit:  explorer report digits --storage STORAGE
set -euo pipefail

space=$1
export RAY_AUTH_MODE=token
ray job submit --address "${RAY_DASHBOARD:-http://127.0.0.1:8265}" --working-dir "$(dirname "$space")" -- \
  explorer run "$(basename "$space")" --address auto --storage "${STORAGE:?a folder that all nodes see, or s3://BUCKET/runs}"
