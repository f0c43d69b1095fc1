"""Signs of trouble: pure functions of a few pictures or numbers, for use in training and on finished pictures."""
