"""How fast the environment is, each fast path beside the slow one in the same run."""
