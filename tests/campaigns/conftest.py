"""The campaigns use fork, and have no doctests, so that pytest only imports their test."""

collect_ignore_glob = ["[!t]*.py"]
