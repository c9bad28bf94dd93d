#!/usr/bin/env bash
# One store, filled by several processes, such as one for each GPU: bash shell.sh VIDEOS STORE PARTS [FLAGS OF EXTRACT...]
# The same on several machines that share the store: start each part on one of them, such as by ssh. Without GPUs one
# process uses all cores of a machine already. Run it again at any time: what is done is skipped.
videos=$1 store=$2 parts=$3
shift 3
processes=()
for part in $(seq "$parts"); do
    CUDA_VISIBLE_DEVICES=$((part - 1)) \
        clipseq extract "$videos" --output "$store" --part "$part/$parts" "$@" >"$store.part$part.log" 2>&1 &
    processes+=($!)
done
code=0
for process in "${processes[@]}"; do
    wait "$process" || code=1
done
tail -qn 1 "$store".part*.log
exit $code
