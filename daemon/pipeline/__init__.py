"""The four stages: claim, export, fetch, file away."""
