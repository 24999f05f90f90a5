PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test fuzz kill clean

# Make a 600-frame video in the maze and say where it is and how fast it went.
demo: .venv/installed
	$(BIN)/arvdm generate --prompt-frames examples/maze.mp4 --length 600 -y -o demo.mp4

# Everything that must hold before a change goes in; pytest runs last, on all cores.
test: .venv/installed-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@$(BIN)/pytest --numprocesses auto --dist loadfile

# More than 10,000 files and words that nobody would write, others each time; about ten minutes.
fuzz: .venv/installed-for-tests
	@$(BIN)/pytest tests/test_fuzz.py --hypothesis-profile=fuzz --hypothesis-show-statistics

# Kill every command that writes for long 50 times at random: counts kills, frames lost and what differs; about an hour.
kill: .venv/installed-for-tests
	@ARVDM_TEST_KILLS=50 $(BIN)/pytest tests/test_kills.py -s

clean:
	rm -rf .venv build dist demo.mp4 demo.json .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: pyproject.toml | .venv
	$(BIN)/pip install --quiet -e .
	@touch $@

.venv/installed-for-tests: pyproject.toml | .venv
	$(BIN)/pip install --quiet -e '.[data,dev]'
	@touch $@ .venv/installed

.venv:
	$(PYTHON) -m venv .venv
