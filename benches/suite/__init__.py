"""Durable delivery, timed side by side with others: see `bench` at the top of the repository.

`machine` says where it ran, `timing` alternates the sides, `files` makes and compares what is sent,
`agents` and `links` are what consign and the networks between machines need; each of `peers` is one way to
bring files somewhere, each of `tables` one question; `report` writes what came of it.
"""
