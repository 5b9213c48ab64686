# shellcheck shell=bash
# Sourced by the batch scripts.

# Runs a command, and queues the job again where the command's exit status 75 says that it was stopped before its end.
run_and_requeue() {
  local status=0
  "$@" || status=$?
  if [ "$status" -eq 75 ]; then
    echo "stopped before its end: job $SLURM_JOB_ID is queued again"
    scontrol requeue "$SLURM_JOB_ID"
    sleep 60 # until the controller ends this script; its own end would be the job's
  fi
  return "$status"
}
