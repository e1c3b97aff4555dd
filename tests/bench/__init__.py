"""`make bench`: what this application costs in time, memory and requests, compared with `wandb launch-agent`.

Each group of figures has a module, which is listed in `GROUPS` of `__main__.py` and has a function `figures`.
"""
