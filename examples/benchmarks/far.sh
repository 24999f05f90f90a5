#!/bin/sh
# FAR's DMLab network and codec at full size with weights drawn at random, after 144 frames: 129 in memory, 15 of context.
# Twelve settings in one run. Options are passed on: examples/benchmarks/far.sh --dtype bfloat16
exec arvdm bench dmlab --random-weights --past 144 --steps 50 --steps 10 --guidance 1.5 --guidance 1 \
    --cache off --cache exact --cache keep --frames 2 --json "$@"
