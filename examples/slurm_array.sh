#!/bin/bash
# Extraction as a Slurm job array: no engine, no head node, every task writes into one store on shared storage.
#
#   sbatch --array=0-15 examples/slurm_array.sh clips.csv emb.h5 16
#
# Every task computes each 16th unit of the manifest and adds its rows to emb.h5.parts/ beside emb.h5. A task that was
# killed is submitted again (sbatch --array=7 ..., and still 16 at the end) and goes on where it stopped. The last line
# publishes: it is the same command without --shard, which computes nothing that is done, and writes emb.h5.
#
#   sbatch --dependency=afterok:JOBID --wrap "embedx extract clips.csv -o emb.h5"
#
#SBATCH --job-name=embedx
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --mem=16G
#SBATCH --time=04:00:00
set -u
if [ $# -ne 3 ]; then
    echo "usage: sbatch --array=0-15 $0 SOURCES STORE 16" >&2
    exit 1
fi
sources=$1 store=$2
shard=$SLURM_ARRAY_TASK_ID/$3 # not Slurm's own count: it is 1 when one task is submitted again
export HF_HUB_OFFLINE=1 # the checkpoint was fetched once, on the login node

embedx extract "$sources" -o "$store" --shard "$shard" --workers $((SLURM_CPUS_PER_TASK - 2)) ${EMBEDX_OPTIONS:-}
status=$?
[ $status -eq 3 ] && exit 0 # done; the clips that failed stand in the store (embedx info emb.h5)
exit $status
