"""Durable runs: a pure reducer, the protocol round each step, our tables, and one adapter to the durable engine."""
