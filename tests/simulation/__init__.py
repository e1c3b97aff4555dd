"""The application in a simulated world: real handlers and the real state machine, in one process, in virtual time.

The simulated AWS and W&B get the real clients' requests, and answer, fail, delay or do not answer. All this is drawn
from one seed: the same seed gives the same schedule.
"""
