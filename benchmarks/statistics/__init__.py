"""Statistics of few runs on few tasks: seeded, on numpy alone."""
