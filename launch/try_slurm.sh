#!/usr/bin/env bash
# Tries the batch scripts on a real SLURM of one node that it starts on this machine and stops again (root; Debian:
# apt-get install slurm-wlm munge). The node claims more processors than it has and GPUs that it has not, so that the
# scripts run as they are; JAX runs on the CPU. Takes some minutes.
#   bash launch/try_slurm.sh COHORT.zarr
set -euo pipefail
store=$(realpath "${1:?name a small cohort.zarr}")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
runs=$work/runs
host=$(hostname -s)

stop() {
  local name
  for name in slurmd slurmctld munged; do
    if [ -f "$work/$name.pid" ]; then
      kill "$(cat "$work/$name.pid")" 2>/dev/null || true
    fi
  done
}
trap stop EXIT

mkdir -p "$work/state" "$work/spool" "$work/munge"
chmod 700 "$work/munge"
chmod 755 "$work"
dd if=/dev/urandom of="$work/munge/key" bs=1 count=1024 status=none
chmod 600 "$work/munge/key"
munged --key-file="$work/munge/key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
  --log-file="$work/munge/log" --seed-file="$work/munge/seed" --force

cat >"$work/slurm.conf" <<CONF
ClusterName=trial
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
ReturnToService=2
KillWait=5
JobRequeue=1
GresTypes=gpu
SlurmdParameters=config_overrides
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
NodeName=$host NodeAddr=127.0.0.1 CPUs=64 Gres=gpu:8 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
touch "$work"/gpu{0..7} # SLURM counts files, and hands their numbers on
echo "Name=gpu File=$work/gpu[0-7]" >"$work/gres.conf"
export SLURM_CONF=$work/slurm.conf
slurmctld
slurmd
for _ in $(seq 30); do
  if sinfo --noheader --format=%T | grep -q idle; then
    break
  fi
  sleep 1
done
sinfo --noheader --format='%N %T %E' | grep idle || { echo "error: the node is not idle, see $work" >&2 && exit 1; }

# Leaves when a job has ended, with whether it did what it should.
wait_for_job() {
  local state
  while true; do
    state=$(scontrol show job "$1" 2>/dev/null | grep -o 'JobState=[A-Z_]*' | sort -u | tr '\n' ' ')
    case "$state" in
      *PENDING*) scontrol update JobId="$1" StartTime=now 2>/dev/null || true ;; # a requeued job would wait two minutes
      *RUNNING* | *COMPLETING* | *CONFIGURING* | *REQUEUE*) ;;
      "JobState=COMPLETED ") return 0 ;;
      *)
        echo "error: job $1 ended as: $state" >&2
        return 1
        ;;
    esac
    sleep 1
  done
}

export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=2
flags=(--config=configs/two_layer.py "--config.data.store=$store" --config.folds=2 --config.batch_size=2)

echo "== two tasks as one run, told to stop in the middle, queued again"
job=$(sbatch --parsable --ntasks-per-node=2 --output="$work/run.log" launch/slurm.sbatch "${flags[@]}" \
  --config.epochs=60 --workdir="$runs/whole")
until [ "$(wc -l 2>/dev/null <"$runs/whole/fold-0/metrics.jsonl" || echo 0)" -ge 5 ]; do
  sleep 0.2
done
scancel --signal=TERM "$job"
wait_for_job "$job" || (tail -40 "$work/run.log" && exit 1)
scontrol show job "$job" | grep -o 'Restarts=[0-9]*' | grep -x 'Restarts=1'
grep -c 'told to stop' "$work/run.log"
test -f "$runs/whole/results.csv"

echo "== one fold a task"
job=$(FINAL=2 sbatch --parsable --array=0-2 --output="$work/fold-%a.log" launch/folds.sbatch "${flags[@]}" \
  --config.epochs=3 --workdir="$runs/folds")
wait_for_job "$job" || (tail -n 40 "$work"/fold-*.log && exit 1)
test -f "$runs/folds/results.csv"
echo "the batch scripts work; logs are in $work"
