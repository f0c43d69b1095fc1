"""Other tools' weights and command lines: their conventions stay in here."""
