"""The operator's pages, the JSON API, health and metrics: a process of its own that receiving does not need."""
