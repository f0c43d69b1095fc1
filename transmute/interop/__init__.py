"""Files of other projects: their published models and data sets."""
