"""The tables of ``docs/results.md`` as one resumable script."""
