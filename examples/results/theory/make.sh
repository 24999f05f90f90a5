#!/bin/sh
# Every file of this folder, by linear algebra alone: no checkpoint, a few minutes on one core. Pictures need matplotlib.
set -e
cd "$(dirname "$0")"
for schedule in outpainting next-frame fifo rolling pyramid; do
  for kernel in exact analytic; do
    arvdm theory bound -s $schedule --kernel $kernel --json > bound-$schedule-$kernel.json
  done
done
arvdm theory bound -s rolling --json -y --plot bound.png > bound-rolling-analytic.json
arvdm theory memory -s fifo --json -y --plot memory.png > memory.json
arvdm theory drift -s outpainting --counter-examples --json -y --plot drift.png > drift.json
arvdm theory predict --score-error 0.1 --json -y --plot predict.png > predict.json
arvdm theory predict --score-error 0 --kernel euler --substeps 4 --json -y --plot predict-solver.png > predict-solver.json
arvdm theory predict --dim 3 --score-error 0.05 --json -y --plot predict-both.png > predict-both.json
