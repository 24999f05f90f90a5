#!/bin/sh
# Measure everything again: `examples/results/make.sh FOLDER`. Some four hours on one core, less with more; a run that was
# stopped goes on. Needs `pip install '.[data,eval,plot]'`, for BESIDE the training of examples/networks, and for the
# table of clips side by side a folder `clips` of them. The figures here are copied from FOLDER.
set -e
mkdir -p "${1:?a folder for the measurements}"
cd "$1"
gaps="--gap 8 --gap 16 --gap 32 --gap 64 --gap 128 --gap 256 --gap 512"
kinds="--kind theme --kind colour --kind blocks2 --kind blocks4"
more="-s outpainting:steps=2 -s outpainting:steps=8 -s outpainting:chunk=8 -s next-frame:steps=8 -s rolling:blocks=2"
beside="${BESIDE:-}" # the full path of another checkpoint, such as that of runs/prepend-joint
arvdm eval memory maze $gaps --control memory --control other --needles needles --out memory
arvdm eval memory maze $kinds --gap 64 --needles needles --out controls
arvdm eval memory maze --kind theme --gap 16 --gap 64 --control memory --control free --needles needles --out free
arvdm eval drift maze $(test -d clips && echo --clips clips) --out drift
arvdm eval pareto maze $beside --mazes 16 --needles needles --truth truth --forgetting margin --out pareto
arvdm eval pareto maze $more --mazes 16 --needles needles --truth truth --forgetting margin --out pareto-more
arvdm eval pareto maze -s outpainting -s rolling --memory-slots 0 --memory-slots 4 --memory-slots 16 --memory-slots 40 \
  --needles needles --truth truth --forgetting margin --out slots
presets="-s outpainting -s next-frame -s fifo -s rolling -s pyramid"
arvdm eval predict maze $beside $presets $more --mazes 8 --measured pareto --measured pareto-more --out predict
