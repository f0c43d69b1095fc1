"""Every setting, one file a subject. Nothing here imports torch, so that `--help` is fast."""
