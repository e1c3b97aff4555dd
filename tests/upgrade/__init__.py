"""What each version stored and sent, so that every later version can finish its runs.

The folder of a version is its set; `release.py` says what is in it. `make release-set` writes it once, when the version
is released: the version's own code runs in the simulated world until runs are in each phase of `phases.py`, and
`snapshot.py` stores what is there then. Do not edit a set afterwards: if a later version does not understand it, that
version is at fault.

Version 0.1.0, which is commit 22d784d, had no `release.py`. Its own code wrote its set all the same:

    git archive 22d784d | tar -x -C FOLDER
    mkdir FOLDER/tests/upgrade && cp tests/upgrade/*.py FOLDER/tests/upgrade
    cd FOLDER && PYTHONPATH=.:layers/launch_agent python -m tests.upgrade.release

with two changes of its simulated world: `StateMachine.is_awaited` of today's tests/simulation/machine.py, and worlds
that all begin at the same time (`_starts = itertools.repeat(1_800_057_600)` in tests/simulation/world.py). It can be
written again at any time, and is the same but for the names of launch agents, which are random.
"""
