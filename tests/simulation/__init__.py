"""The application in a simulated world: its real handlers and its real state machine, in one process, in virtual time.

What stands for AWS and W&B takes the requests of the real clients and answers, fails, is late or is silent, all drawn
from one seed: the same seed gives the same schedule.
"""
