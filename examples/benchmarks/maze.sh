#!/bin/sh
# The model `maze` and its fast sibling on this machine: `examples/benchmarks/maze.sh FOLDER`, ten minutes on two cores.
# Rows of one file come from one run and can be held against each other; nothing else should run meanwhile.
set -e
out="${1:?a folder for the figures}"
mkdir -p "$out"
bench() { name="$1"; shift; echo "$name"; arvdm bench "$@" --json --progress none > "$out/$name.json"; }
bench maze maze --frames 240
bench maze-fast maze-fast --frames 240
bench compile maze --compile --frames 120
bench compile-fast maze-fast --compile --frames 120
bench cache maze --cache exact --cache keep --cache off --frames 60
bench threads maze --threads 1 --threads 2 --frames 120
bench memory maze --memory-slots 0 --memory-slots 40 --memory-slots 128 --frames 120
for length in 600 6000; do
    arvdm generate -p examples/maze.mp4 -n $length --seed 1 -q -y -o "$out/length-$length.mp4"
done
