PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)

.PHONY: demo play test docs release fuzz kill load viewers latency length clean

# Make a 600-frame video in the maze, and say where it is, how fast it went and what to look for.
demo: .venv/installed
	$(BIN)/arvdm generate --prompt-frames examples/maze.mp4 --actions examples/demo.jsonl --length 600 --seed 1 --scale 4 -y -o demo.mp4
	@echo 'From memory: to the other room from second 1.1, a look about from 3.2, back from 6.4, a look about from 8.5. From 10.7 on: a random walk.'

# Drive a model in the browser; Ctrl-C ends it.
play: .venv/installed-for-play
	$(BIN)/arvdm play --prompt-frames examples/maze.mp4 --open

# Everything that must hold before a change goes in; pytest runs last, on all cores.
test: .venv/installed-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# The documentation as a site in build/docs; strict: a link or name that leads nowhere is an error. Uses no network.
docs: .venv/installed-for-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/docs

# A wheel and an archive of the sources in dist, checked as an index would.
release: .venv/installed-for-release
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

# More than 10,000 files and words that nobody would write, others each time; about five minutes.
fuzz: .venv/installed-for-tests
	@$(BIN)/pytest tests/test_fuzz.py --hypothesis-profile=fuzz --hypothesis-show-statistics

# Kill every command that writes for long 50 times at random: counts kills, frames lost and what differs; about an hour.
kill: .venv/installed-for-tests
	@ARVDM_TEST_KILLS=50 $(BIN)/pytest tests/test_kills.py -s

# All tests beside six busy loops, as on a machine that others use: about half an hour on two cores.
load: .venv/installed-for-tests
	@$(BIN)/python tests/support/busy.py 6 $(BIN)/pytest --numprocesses 8 --dist loadfile --no-loadscope-reorder

# Eight viewers of the page of `arvdm play` for ten minutes, one slow and one dead: prints frames, delays and memory.
viewers: .venv/installed-for-tests
	@ARVDM_TEST_VIEWERS=600 $(BIN)/pytest tests/play/web/test_load.py -s

# From a key to the frame that obeys it, as drawn in Chromium, at chunk 1, 2 and 4; two minutes on two quiet cores.
latency: .venv/installed-for-tests
	@PYTHONPATH=tests $(BIN)/python tests/support/latency.py

# 10,000 frames of a tiny FAR, whose 64 slots are full from frame 67 on, and 10,000 latents of a tiny Wan: prints what
# memory they take; about ten minutes.
length: .venv/installed-for-tests
	@ARVDM_TEST_LENGTH=10000 $(BIN)/pytest tests/models/test_far_length.py tests/models/test_wan_length.py -n0 -s

clean:
	rm -rf .venv build dist demo.mp4 demo.json demo.state demo.state.old .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: pyproject.toml | .venv
	$(BIN)/pip install --quiet -e .
	@touch $@

.venv/installed-for-tests: pyproject.toml | .venv
	$(BIN)/pip install --quiet -e '.[data,dev,docs,play,release]'
	@touch $@ .venv/installed .venv/installed-for-docs .venv/installed-for-release .venv/installed-for-play

.venv/installed-for-docs .venv/installed-for-release .venv/installed-for-play: .venv/installed-for-%: pyproject.toml | .venv
	$(BIN)/pip install --quiet -e '.[$*]'
	@touch $@ .venv/installed

.venv:
	$(PYTHON) -m venv .venv
